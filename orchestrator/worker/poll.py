"""Polling: compares a listing with the open runs, page by page, and writes only what changed."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final

import anyio

from orchestrator.core.cadence import learn, pace
from orchestrator.core.run import FINAL, Run, Snapshot, Status
from orchestrator.core.schedule import next_poll
from orchestrator.core.transition import Transition, finish
from orchestrator.errors import LeaseLost, Missing, Rejected
from orchestrator.providers.base import Page
from orchestrator.providers.paging import PAGE_CAP, pages
from orchestrator.providers.registry import PER_SECOND
from orchestrator.store.accounts import Account, claim_on
from orchestrator.store.watch import MOST_ASKED
from orchestrator.worker.account import AccountWorker
from orchestrator.worker.overdue import tell_overdue
from orchestrator.worker.record import SnapshotRecorder, write

BETWEEN_SECONDS: Final = 0.25
"""How often a long listing pauses for what is due to be sent."""

LISTINGS_BEFORE_LOST: Final = 2
READS_A_LOOK: Final = 50
"""The most runs missing from a listing that one poll reads one by one."""
RELEARN: Final = timedelta(minutes=5)
_NOT_OURS: Final = object()


@dataclass(kw_only=True)
class _Look:
    """One poll of an account: which runs are still to be seen, and when it began."""

    account: Account
    recorder: SnapshotRecorder
    waiting: dict[str, str | None]
    missed: frozenset[str]
    started: datetime
    requests: int = 0
    breathed: float = field(default_factory=anyio.current_time)


async def poll(worker: AccountWorker) -> datetime | None:
    """Poll all open runs of the account and say when to poll next; None if another daemon polls it."""
    watch = await worker.store.watch.open(worker.name)
    account = await _claimed(worker)
    if account is None:
        return None
    look = _Look(
        account=account,
        recorder=SnapshotRecorder(worker),
        waiting=watch.words,
        missed=watch.missed,
        started=watch.now,
    )
    seen = bool(look.waiting)
    if seen:
        await _see(worker, look)
        await _learn(worker, look)
        await tell_overdue(worker, look.started)
    interval = await _pace(worker, look)
    due = await _allowed(worker, next_poll(look.started, interval, jitter=worker.jitter()))
    interval = max(interval, due - look.started)
    worker.held = await worker.store.accounts.settle(
        look.account,
        next_poll_at=due,
        confirmed_at=look.started if seen else None,
        interval=interval,
        keep=True,
    )
    return due


async def _claimed(worker: AccountWorker) -> Account | None:
    """Keep the claim of the last poll if it still holds, else claim the account."""
    held = worker.held
    if held is not None and worker.store.leases.holds(claim_on(held)):
        return held
    return await worker.store.accounts.claim(worker.name)


async def _learn(worker: AccountWorker, look: _Look) -> None:
    """Learn from the account's own history how long runs take, again whenever some have ended."""
    known = worker.learned_at
    if known is None or (look.recorder.finished and look.started - known >= RELEARN):
        worker.usual = learn(await worker.store.watch.lengths(worker.name, worker.provider.Spec.base))
        worker.learned_at, worker.late_at = look.started, None


async def _pace(worker: AccountWorker, look: _Look) -> timedelta:
    base, per_second = worker.provider.Spec.base, worker.options.requests_per_second or PER_SECOND
    near = await worker.store.watch.near_end(worker.name, base, worker.usual, within=worker.interval)
    return pace(worker.interval, near_end=near, requests=look.requests, per_second=per_second)


async def _allowed(worker: AccountWorker, due: datetime) -> datetime:
    """Delay `due` if the provider said that its rate limit is used up until later."""
    blocked = worker.provider.http.blocked
    return max(due, await worker.store.now() + timedelta(seconds=blocked)) if blocked else due


async def _see(worker: AccountWorker, look: _Look) -> None:
    if worker.reads_are_fewer(look.waiting.keys()) and await _singly(worker, look):
        return
    count = len(look.waiting)
    depths: dict[str, int] = {}
    async for page in pages(worker.provider, stop=lambda _: not look.waiting):
        look.requests += 1
        shown = await _page(worker, look, page)
        if count < PAGE_CAP:
            depths.update(dict.fromkeys(shown, look.requests))
        await _breathe(worker, look)
    worker.depths = depths if count < look.requests else {}
    if look.waiting:
        await _unlisted(worker, look)


async def _singly(worker: AccountWorker, look: _Look) -> bool:
    """Read each open run by itself; False if one is missing, which only a listing can settle."""
    found: list[Snapshot] = []
    try:
        for remote_id in look.waiting:
            look.requests += 1
            found.append(await worker.provider.get(remote_id))
    except (Missing, Rejected):
        return False
    finally:
        await _page(worker, look, Page(items=tuple(found)))
    return True


async def _page(worker: AccountWorker, look: _Look, page: Page) -> Sequence[str]:
    """Write what changed on one page, and return the open runs that it showed."""
    changed: list[Snapshot] = []
    shown: list[str] = []
    for item in page.items:
        remote_id = item.remote_id
        word = look.waiting.pop(remote_id, _NOT_OURS)
        if word is _NOT_OURS:
            continue
        shown.append(remote_id)
        if item.provider_status != word or item.status in FINAL or remote_id in look.missed:
            changed.append(item)
    if changed:
        await look.recorder.record(changed)
    return shown


async def _breathe(worker: AccountWorker, look: _Look) -> None:
    """Between two pages, check that the claim still holds and send whatever is due."""
    now = anyio.current_time()
    if now - look.breathed < BETWEEN_SECONDS:
        return
    look.breathed = now
    if not worker.store.leases.holds(claim_on(look.account)):
        raise LeaseLost(f"another daemon is polling {worker.name}")
    await worker.between()


async def _unlisted(worker: AccountWorker, look: _Look) -> None:
    """Handle the runs that a complete listing did not show: lost only after two listings and a read."""
    ids, reads = list(look.waiting), READS_A_LOOK
    for start in range(0, len(ids), MOST_ASKED):
        now, runs = await worker.store.watch.bound(worker.name, ids[start : start + MOST_ASKED])
        moved: list[Transition] = []
        try:
            for run in runs.values():
                if run.looks + 1 < LISTINGS_BEFORE_LOST:
                    moved.append(Transition(before=run, run=replace(run, looks=run.looks + 1)))
                elif reads > 0 and _judged(worker, run, now):
                    reads -= 1
                    moved += await _missing(worker, look, run, now)
        finally:
            await write(worker, [each for each in moved if not each.before.status.final])


def _judged(worker: AccountWorker, run: Run, now: datetime) -> bool:
    """Say whether its absence counts yet: without single reads, a lagging listing is all there is."""
    patience = timedelta() if worker.provider.can("get") else worker.options.doubt_window
    return not run.status.final and now - (run.submitted_at or run.updated_at) >= patience


async def _missing(worker: AccountWorker, look: _Look, run: Run, now: datetime) -> Sequence[Transition]:
    try:
        if worker.provider.can("get") and run.remote_id is not None:
            await look.recorder.record([await worker.provider.get(run.remote_id)])
            return ()
    except Missing:
        pass
    status = Status.CANCELLED if run.cancel else Status.LOST
    message = "the provider no longer has it" + (", as requested" if run.cancel else "")
    return (finish(run, now, status=status, message=message),)
