"""What a failed answer means for the run: one table for reads, a closed one for creates."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

from orchestrator.errors import (
    Denied,
    Gone,
    Misread,
    Missing,
    ProviderError,
    Rejected,
    Throttled,
    Transient,
    Unclear,
)

LEAST_THROTTLE: Final = 15.0
LONGEST_WAIT: Final = 86400.0

_READ: Mapping[int, type[ProviderError]] = {
    401: Denied,
    402: Denied,
    403: Denied,
    404: Missing,
    408: Transient,
    425: Transient,
    429: Throttled,
    498: Denied,
}

# `reliability.md` §3.4: only what is proven is here, all else may have been applied.
_CREATE: Mapping[int, type[ProviderError]] = {
    400: Rejected,
    401: Denied,
    402: Denied,
    403: Denied,
    404: Gone,
    405: Rejected,
    410: Gone,
    413: Rejected,
    415: Rejected,
    422: Rejected,
    429: Throttled,
    498: Denied,
}


def of_read(code: int, *, endpoint: bool = False) -> type[ProviderError]:
    """Tell what a failed code says of a read; `endpoint` where the path holds no id that could be unknown."""
    if endpoint and code in (404, 410):
        return Gone
    if code < 400:
        return Misread
    return _READ.get(code, Transient if code >= 500 else Rejected)


def of_create(code: int) -> type[ProviderError]:
    """Tell what a failed code says of a create; in doubt unless it proves that nothing was made."""
    return _CREATE.get(code, Unclear)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Read `Retry-After`, seconds or a date; rubbish and the past count as not given, a day is the most."""
    value = headers.get("retry-after", "").strip()
    if value.isascii() and value.isdecimal():
        return min(float(value[:9]), LONGEST_WAIT)
    then = _date(value)
    if then is None:
        return None
    # The provider's own clock is the one that its date was written by.
    seconds = (then - (_date(headers.get("date", "")) or datetime.now(UTC))).total_seconds()
    return min(seconds, LONGEST_WAIT) if seconds > 0 else None


def _date(value: str) -> datetime | None:
    try:
        found = parsedate_to_datetime(value)
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


_QUOTA = re.compile(r";\s*r=(\d{1,9})\s*;\s*t=(\d{1,9})", re.ASCII)


def quota_wait(headers: Mapping[str, str]) -> float:
    """Read Cloudflare's `Ratelimit` header: seconds until it counts anew where nothing is left, else 0."""
    waits = (int(t) for r, t in _QUOTA.findall(headers.get("ratelimit", "")) if int(r) == 0)
    return min(float(max(waits, default=0)), LONGEST_WAIT)
