"""The line of a job file that a problem is about, unless it may hold a secret."""

import re
from collections.abc import Iterable
from typing import Final

from orchestrator.config.locate import extent
from orchestrator.config.secret import looks_secret

SENSITIVE: Final = re.compile(
    r"key|token|secret|passw|auth|credential|url|dsn|database|heartbeat|header", re.IGNORECASE
)
"""In the name of a key: its value may be a secret, or hold one."""
_WIDEST: Final = 200
_STATEMENT: Final = re.compile(r"""[ \t]*(?:\[|[A-Za-z0-9_."'-]+[ \t]*(?:=|$))""")
"""A line that begins a table or a value; any other may be the middle of a secret that has several."""


def excerpt(
    text: str, offset: int, path: Iterable[str | int] | None = None, *, key: bool = False
) -> tuple[str, int]:
    """Return the line at `offset`, safe to show, and how many characters from there are meant.

    `path` is that of the key or value that stands there, None where the file could not be parsed. The
    line is empty where it is too long to be of help, or may hold a secret.
    """
    begin, end = text.rfind("\n", 0, offset) + 1, text.find("\n", offset)
    line = text[begin : end if end >= 0 else len(text)].rstrip()
    hidden = any(SENSITIVE.search(key) for key in path or () if isinstance(key, str))
    hidden = hidden or (path is None and not _STATEMENT.match(line))
    if hidden or len(line) > _WIDEST or SENSITIVE.search(line) or looks_secret(line):
        return "", 1
    shown = "".join(letter if letter.isprintable() else " " if letter == "\t" else "?" for letter in line)
    return shown, max(1, min(extent(text, offset, key=key), len(line) - (offset - begin)))
