"""What a receiver or a command said, made fit to be stored and shown."""

import re
import unicodedata
from collections.abc import Iterable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from orchestrator.core.delivery import LONGEST_WAIT

KEPT = 2048
"""Bytes of an answer that are worth keeping."""

# CSI, OSC with its end, and the two-character escapes: whole, so that no parameter is left as text.
_ESCAPES = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b[@-Z\\^_]")
_SECRET = re.compile(r"whsec_[A-Za-z0-9+/_=-]+")
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def clean(raw: bytes, *, hide: Iterable[str] = ()) -> str:
    """Return one line of at most `KEPT` bytes, without control characters and without the texts in `hide`."""
    text = _ESCAPES.sub("", raw[: 8 * KEPT].decode("utf-8", "replace"))
    text = "".join(_shown(character) for character in text)
    for value in sorted(set(hide), key=len, reverse=True):
        text = text.replace(value, "***")
    text = " ".join(_SECRET.sub("whsec_***", text).split())
    return text.encode()[:KEPT].decode("utf-8", "ignore")


def _shown(character: str) -> str:
    if character in "\t\r\n\v\f\u2028\u2029\x85":
        return " "
    return "" if unicodedata.category(character) in _UNSEEN else character


def retry_after(value: str | None, now: datetime) -> float | None:
    """Read a Retry-After header as seconds from `now`; rubbish and negative numbers are None."""
    value = (value or "").strip()
    longest = LONGEST_WAIT.total_seconds()
    if re.fullmatch(r"[0-9]+(\.[0-9]*)?", value):
        whole = value.partition(".")[0].lstrip("0")
        return longest if len(whole) > 6 else min(float(value), longest)
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, TypeError, OverflowError):
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return min(max((moment - now).total_seconds(), 0.0), longest)
