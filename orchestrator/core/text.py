"""Texts from outside made fit to be stored and shown: one line, visible characters, a length."""

import re
import unicodedata
from typing import Final

MESSAGE_CAP: Final = 500
"""Characters of a message that are worth keeping."""

# CSI, OSC with its end, and the two-character escapes: whole, so that no parameter is left as text.
ESCAPE: Final = r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b[@-Z\\^_]"
_ESCAPES: Final = re.compile(ESCAPE)
# Controls, format characters (bidi, zero width), surrogates, private use, unassigned, line separators.
_UNSEEN: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def without_escapes(text: str) -> str:
    """Drop what steers a terminal, with its parameters."""
    return _ESCAPES.sub("", text)


def clean(text: str, cap: int = MESSAGE_CAP) -> str:
    """Make outside text safe to show and store: no controls, no bidi, no zero width, one line, a length."""
    if not (text.isascii() and text.isprintable()):
        spaced = re.sub(r"\s+", " ", text)
        text = "".join(char for char in spaced if unicodedata.category(char) not in _UNSEEN)
    text = text.strip()
    return text if len(text) <= cap else f"{text[: cap - 1]}…"
