"""How often an account is polled: at its interval, more often near the usual end of a run."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

FEWEST = 5
"""Finished runs from which a usual length is learned."""

CLOSER = 4
"""How many polls there are in an interval while a run is near its usual end."""

LEAST = timedelta(seconds=1)
SHARE = 0.5
"""The share of an account's requests that polling may use."""

FAR = 3
FAR_AT_LEAST = timedelta(hours=1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Usual:
    """The ages at which runs of one kind and base model end, and the longest that one took."""

    begins: timedelta
    ends: timedelta
    longest: timedelta

    @property
    def far(self) -> timedelta:
        """The age from which a run takes far longer than any before."""
        return max(self.longest * FAR, self.longest + FAR_AT_LEAST)

    @classmethod
    def over(cls, several: Iterable["Usual"]) -> "Usual":
        """Return the one that holds all of `several`."""
        known = list(several)
        return cls(
            begins=min(one.begins for one in known),
            ends=max(one.ends for one in known),
            longest=max(one.longest for one in known),
        )


def learn(lengths: Mapping[str, Sequence[timedelta]]) -> Mapping[str, Usual]:
    """Learn how long runs of each base model take, once enough have ended; extremes do not count."""
    return {name: _usual(sorted(took)) for name, took in lengths.items() if len(took) >= FEWEST}


def _usual(took: Sequence[timedelta]) -> Usual:
    last = len(took) - 1
    return Usual(begins=took[last // 10] * 0.9, ends=took[last - last // 10] * 1.1, longest=took[-1])


def pace(interval: timedelta, *, near_end: bool, requests: int, per_second: float) -> timedelta:
    """Return the longest gap to the next poll; the last one took `requests` requests.

    Looking alone never takes more than its share of `per_second`, so that there is room to send.
    """
    gap = max(interval / CLOSER, min(LEAST, interval)) if near_end else interval
    return max(gap, timedelta(seconds=requests / (per_second * SHARE)))


LAGGING = 3
"""Intervals without a complete poll after which what is known of an account is stale."""


def lag(known_at: datetime | None, interval: timedelta, now: datetime) -> timedelta | None:
    """Return by how much the next complete poll is late; None if there never was one."""
    return None if known_at is None else max(now - known_at - interval, timedelta())


def lags(known_at: datetime | None, interval: timedelta, now: datetime) -> bool:
    """Say whether it is late enough to raise an alarm."""
    late = lag(known_at, interval, now)
    return late is not None and late > interval * (LAGGING - 1)
