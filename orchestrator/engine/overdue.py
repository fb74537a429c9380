"""Telling once of runs that take too long: longer than they may, or far longer than any did before."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final

from orchestrator.core.run import Transition, overdue
from orchestrator.engine.lane import Lane
from orchestrator.engine.outcome import write
from orchestrator.store.watch import MOST_ASKED, Aging

RECHECK: Final = timedelta(minutes=5)
"""The longest time after which all are looked at again; an import may bring in an old one."""


async def tell_overdue(lane: Lane, now: datetime) -> None:
    """Tell of each run whose time is up; asks the database only when the next one may be."""
    limits = [*lane.overdue.values(), *(usual.far for usual in lane.usual.values())]
    if not limits or (lane.late_at is not None and now < lane.late_at <= now + RECHECK):
        return
    shortest = min(limits)
    old, next_one = await lane.store.watch.aging(lane.name, lane.provider.Spec.base, before=now - shortest)
    times = {one.id: limit for one in old if (limit := _limit(lane, one)) is not None}
    due = {one.id: one.submitted_at + times[one.id] for one in old if one.id in times}
    late = [run_id for run_id, moment in due.items() if moment <= now]
    for start in range(0, len(late), MOST_ASKED):
        await _tell(lane, late[start : start + MOST_ASKED], times, now)
    coming = [moment for moment in due.values() if moment > now]
    coming += [next_one + shortest] if next_one is not None else []
    lane.late_at = min(*coming, now + RECHECK, now + shortest) if coming else now + min(RECHECK, shortest)


def _limit(lane: Lane, run: Aging) -> timedelta | None:
    """Return how long a run may take: what its job says, else what is far outside of the history."""
    usual = lane.usual.get(run.base or "")
    return lane.overdue.get(run.job, usual.far if usual else None)


async def _tell(lane: Lane, ids: list[str], limits: Mapping[str, timedelta], now: datetime) -> None:
    late: list[Transition] = []
    for run in await lane.store.watch.by_ids(ids):
        transition = overdue(run, now, limits[run.id])
        if transition is not None:
            late.append(transition)
    await write(lane, late)
