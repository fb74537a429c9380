"""When to try again: polls, searches for a lost answer, and the back-off after failures."""

from datetime import datetime, timedelta

LOOKS = tuple(timedelta(seconds=seconds) for seconds in (0, 15, 60, 300))
"""Waits before the first searches for a lost answer."""

LATER_LOOKS = timedelta(minutes=15)
LONGEST_DELAY = LATER_LOOKS
"""The longest delay of a run; if its provider asks for more, the whole account waits."""
SEND_DEADLINE = timedelta(seconds=30)
FIRST_BACKOFF = timedelta(seconds=2)
LONGEST_BACKOFF = timedelta(minutes=10)
LEAST_THROTTLE = timedelta(seconds=15)
LONGEST_ASKED = timedelta(days=1)


def next_look(looks: int, now: datetime, *, sent_at: datetime, window: timedelta) -> datetime:
    """Say when to look again for an answer that `looks` complete listings did not show.

    One look falls right after the window closes, since only that one may give a negative verdict.
    """
    wait = LOOKS[looks] if looks < len(LOOKS) else LATER_LOOKS
    closes = verdict_after(sent_at, window)
    if now < closes:
        return min(now + wait, closes)
    return now + wait


def verdict_after(sent_at: datetime, window: timedelta) -> datetime:
    """Return the time from which a complete listing without the run proves that there is none."""
    return sent_at + SEND_DEADLINE + window


def back_off(
    failures: int,
    now: datetime,
    *,
    jitter: float,
    retry_after: float | None = None,
    least: timedelta = FIRST_BACKOFF,
) -> datetime:
    """Say when to ask an account again after `failures` failures in a row (1 or more).

    `jitter` is a number from 0 to 1; `retry_after` (seconds) is a lower limit, at most a day.
    """
    full = min(least * float(2 ** min(max(failures - 1, 0), 16)), LONGEST_BACKOFF)
    ours, theirs = now + full * (0.5 + jitter / 2), asked_until(now, retry_after)
    return ours if theirs is None else max(ours, theirs)


def put_off(due: datetime, now: datetime) -> datetime:
    """Return when a run is tried again; its account may have to wait longer."""
    return min(due, now + LONGEST_DELAY)


def asked_until(now: datetime, retry_after: float | None) -> datetime | None:
    """Say until when the provider asked to be left alone; None if it did not."""
    if retry_after is None:
        return None
    return now + timedelta(seconds=min(retry_after, LONGEST_ASKED.total_seconds()))


def next_poll(now: datetime, interval: timedelta, *, jitter: float) -> datetime:
    """Say when to poll an account next: its interval is the longest gap, jitter only shortens it."""
    return now + interval * (0.9 + jitter / 10)
