"""How long an answer asks us to wait."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

LONGEST: Final = 86400.0
"""Seconds that are believed at most."""
_SECONDS = re.compile(r"[0-9]+(\.[0-9]*)?", re.ASCII)
_QUOTA = re.compile(r";\s*r=(\d{1,9})\s*;\s*t=(\d{1,9})", re.ASCII)


def retry_after(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """Read `Retry-After`, seconds or a date, as seconds from now; None where it says nothing.

    A date counts from the answer's own `Date`, since the same clock wrote both; without one from `now`.
    """
    value = headers.get("retry-after", "").strip()
    if _SECONDS.fullmatch(value):
        whole = value.partition(".")[0].lstrip("0")
        return LONGEST if len(whole) > 6 else min(float(value), LONGEST)
    then = _date(value)
    if then is None:
        return None
    since = _date(headers.get("date", "")) or now or datetime.now(UTC)
    return min(max((then - since).total_seconds(), 0.0), LONGEST)


def _date(value: str) -> datetime | None:
    try:
        found = parsedate_to_datetime(value)
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def quota_wait(headers: Mapping[str, str]) -> float:
    """Read the `Ratelimit` header: seconds until requests count anew where none is left, else 0."""
    waits = (int(t) for r, t in _QUOTA.findall(headers.get("ratelimit", "")) if int(r) == 0)
    return min(float(max(waits, default=0)), LONGEST)
