"""What a receiver or a command said, made fit to be stored and shown."""

import re
from collections.abc import Iterable
from typing import Final

from orchestrator.core.text import without_escapes
from orchestrator.net.redaction import shown

KEPT: Final = 2048
"""Bytes of an answer that are worth keeping."""

_SECRET: Final = re.compile(r"whsec_[A-Za-z0-9+/_=-]+")


def clean(raw: bytes, *, hide: Iterable[str] = ()) -> str:
    """Return one line of at most `KEPT` bytes, with no control character, no secret and nothing of `hide`."""
    text = shown(without_escapes(raw.decode("utf-8", "replace")), len(raw), also=hide)
    text = " ".join(_SECRET.sub("whsec_***", text).split())
    return text.encode()[:KEPT].decode("utf-8", "ignore")
