"""Reporting runs once that take longer than they may, or far longer than any run before."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final

from orchestrator.core.transition import Transition, overdue
from orchestrator.store.watch import MOST_ASKED, Aging
from orchestrator.worker.account import AccountWorker
from orchestrator.worker.record import write

RECHECK: Final = timedelta(minutes=5)
"""The longest time between two checks of all runs; an import may bring in an old one."""


async def tell_overdue(worker: AccountWorker, now: datetime) -> None:
    """Report each run whose time is up; asks the database only when the next one may be due."""
    limits = [*worker.overdue.values(), *(usual.far for usual in worker.usual.values())]
    if not limits or (worker.late_at is not None and now < worker.late_at <= now + RECHECK):
        return
    shortest = min(limits)
    old, next_one = await worker.store.watch.aging(
        worker.name, worker.provider.Spec.base, before=now - shortest
    )
    times = {one.id: limit for one in old if (limit := _limit(worker, one)) is not None}
    due = {one.id: one.submitted_at + times[one.id] for one in old if one.id in times}
    late = [run_id for run_id, moment in due.items() if moment <= now]
    for start in range(0, len(late), MOST_ASKED):
        await _tell(worker, late[start : start + MOST_ASKED], times, now)
    coming = [moment for moment in due.values() if moment > now]
    coming += [next_one + shortest] if next_one is not None else []
    worker.late_at = min(*coming, now + RECHECK, now + shortest) if coming else now + min(RECHECK, shortest)


def _limit(worker: AccountWorker, run: Aging) -> timedelta | None:
    """Return how long a run may take: as its job says, else far longer than any run so far."""
    usual = worker.usual.get(run.base or "")
    return worker.overdue.get(run.job, usual.far if usual else None)


async def _tell(
    worker: AccountWorker, ids: list[str], limits: Mapping[str, timedelta], now: datetime
) -> None:
    late: list[Transition] = []
    for run in await worker.store.watch.by_ids(ids):
        transition = overdue(run, now, limits[run.id])
        if transition is not None:
            late.append(transition)
    await write(worker, late)
