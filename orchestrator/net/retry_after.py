"""How long an answer asks us to wait."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

LONGEST: Final = 86400.0
"""The longest wait that is believed, in seconds."""
_SECONDS = re.compile(r"[0-9]+(\.[0-9]*)?", re.ASCII)
_QUOTA = re.compile(r";\s*r=(\d{1,9})\s*;\s*t=(\d{1,9})", re.ASCII)


def retry_after(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """Return the seconds to wait by `Retry-After`, which is a number or a date; None if it says nothing.

    A date is compared with the answer's own `Date`, written by the same clock; without one with `now`.
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
    """Return the seconds until the quota in `Ratelimit` is renewed if it is used up, else 0."""
    waits = (int(t) for r, t in _QUOTA.findall(headers.get("ratelimit", "")) if int(r) == 0)
    return min(float(max(waits, default=0)), LONGEST)
