"""What a receiver or a command said, made fit to be stored and shown."""

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from orchestrator.core.delivery import LONGEST_WAIT
from orchestrator.net import text as net
from orchestrator.net.redaction import redact

KEPT = 2048
"""Bytes of an answer that are worth keeping."""

_SECRET = re.compile(r"whsec_[A-Za-z0-9+/_=-]+")


def clean(raw: bytes, *, hide: Iterable[str] = ()) -> str:
    """Return one line of at most `KEPT` bytes, with no control character, no secret and nothing of `hide`."""
    text = net.without_escapes(raw.decode("utf-8", "replace"))
    text = redact(net.clean(text, len(raw)), also=hide)
    text = " ".join(_SECRET.sub("whsec_***", text).split())
    return text.encode()[:KEPT].decode("utf-8", "ignore")


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
