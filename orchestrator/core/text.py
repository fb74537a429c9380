"""Making outside text safe to store and show: one line of visible characters with a limited length."""

import re
import unicodedata
from typing import Final

MESSAGE_CAP: Final = 500
"""The most characters kept of a message."""

# CSI, OSC with its end, and two-character escapes, matched whole so that no parameter is left as text.
ESCAPE: Final = r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b[@-Z\\^_]"
_ESCAPES: Final = re.compile(ESCAPE)
# Controls, format characters (bidi, zero width), surrogates, private use, unassigned, line separators.
_UNSEEN: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def without_escapes(text: str) -> str:
    """Remove terminal escape sequences with their parameters."""
    return _ESCAPES.sub("", text)


def clean(text: str, cap: int = MESSAGE_CAP) -> str:
    """Return one line of at most `cap` characters, without control, bidi and invisible characters."""
    if not (text.isascii() and text.isprintable()):
        spaced = re.sub(r"\s+", " ", text)
        text = "".join(char for char in spaced if unicodedata.category(char) not in _UNSEEN)
    text = text.strip()
    return text if len(text) <= cap else f"{text[: cap - 1]}…"
