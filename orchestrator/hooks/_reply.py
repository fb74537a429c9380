"""Answers of receivers and commands, made safe to store and show."""

import re
from collections.abc import Iterable
from typing import Final

from orchestrator.core.text import without_escapes
from orchestrator.net.redaction import shown

KEPT: Final = 2048
"""Bytes kept of an answer."""

_SECRET: Final = re.compile(r"whsec_[A-Za-z0-9+/_=-]+")


def clean(raw: bytes, *, hide: Iterable[str] = ()) -> str:
    """Return one line of at most `KEPT` bytes without control characters, secrets or anything in `hide`."""
    text = shown(without_escapes(raw.decode("utf-8", "replace")), len(raw), also=hide)
    text = " ".join(_SECRET.sub("whsec_***", text).split())
    return text.encode()[:KEPT].decode("utf-8", "ignore")
