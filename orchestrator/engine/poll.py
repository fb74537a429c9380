"""Polling: pages of a listing against the open runs, writing only what changed, one transaction a page."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final

import anyio

from orchestrator.core.cadence import learn, pace
from orchestrator.core.run import FINAL, Run, Snapshot, Status, Transition, finish
from orchestrator.core.schedule import next_poll
from orchestrator.engine.lane import Lane
from orchestrator.engine.outcome import Outcomes, write
from orchestrator.engine.overdue import tell_overdue
from orchestrator.errors import LeaseLost, Missing, Rejected
from orchestrator.providers import PAGE_CAP, PER_SECOND, Page, pages
from orchestrator.store.accounts import Account, claim_on
from orchestrator.store.watch import MOST_ASKED

BETWEEN_SECONDS: Final = 0.25
"""How often a long listing lets what is due to be sent go first."""

LISTINGS_BEFORE_LOST: Final = 2
READS_A_LOOK: Final = 50
"""Runs that a listing did not show and that are read one by one, in one look."""
RELEARN: Final = timedelta(minutes=5)
_NOT_OURS: Final = object()


@dataclass(kw_only=True)
class _Look:
    """One look at an account: what is still to be seen, and when it began."""

    account: Account
    outcomes: Outcomes
    waiting: dict[str, str | None]
    missed: frozenset[str]
    started: datetime
    requests: int = 0
    breathed: float = field(default_factory=anyio.current_time)


async def poll(lane: Lane) -> datetime | None:
    """Look at all open runs of the account, and say when it is looked at next; None: another daemon does."""
    watch = await lane.store.watch.open(lane.name)
    account = await _claimed(lane)
    if account is None:
        return None
    look = _Look(
        account=account,
        outcomes=Outcomes(lane),
        waiting=watch.words,
        missed=watch.missed,
        started=watch.now,
    )
    seen = bool(look.waiting)
    if seen:
        await _see(lane, look)
        await _learn(lane, look)
        await tell_overdue(lane, look.started)
    interval = await _pace(lane, look)
    due = await _allowed(lane, next_poll(look.started, interval, draw=lane.draw()))
    interval = max(interval, due - look.started)
    lane.held = await lane.store.accounts.settle(
        look.account,
        next_poll_at=due,
        confirmed_at=look.started if seen else None,
        interval=interval,
        keep=True,
    )
    return due


async def _claimed(lane: Lane) -> Account | None:
    """Go on with what is still claimed from the last look, else claim it."""
    held = lane.held
    if held is not None and lane.store.leases.holds(claim_on(held)):
        return held
    return await lane.store.accounts.claim(lane.name)


async def _learn(lane: Lane, look: _Look) -> None:
    """Learn from the account's own history when runs usually end, anew where some have ended since."""
    known = lane.learned_at
    if known is None or (look.outcomes.finished and look.started - known >= RELEARN):
        lane.usual = learn(await lane.store.watch.lengths(lane.name, lane.provider.Spec.base))
        lane.learned_at, lane.late_at = look.started, None


async def _pace(lane: Lane, look: _Look) -> timedelta:
    base, per_second = lane.provider.Spec.base, lane.options.requests_per_second or PER_SECOND
    near = await lane.store.watch.near_end(lane.name, base, lane.usual, within=lane.interval)
    return pace(lane.interval, near_end=near, requests=look.requests, per_second=per_second)


async def _allowed(lane: Lane, due: datetime) -> datetime:
    """Put `due` off where the provider has said that nothing is left of its own limit until later."""
    blocked = lane.provider.http.blocked
    return max(due, await lane.store.now() + timedelta(seconds=blocked)) if blocked else due


async def _see(lane: Lane, look: _Look) -> None:
    if lane.reads_are_fewer(look.waiting.keys()) and await _singly(lane, look):
        return
    count = len(look.waiting)
    depths: dict[str, int] = {}
    async for page in pages(lane.provider, stop=lambda _: not look.waiting):
        look.requests += 1
        shown = await _page(lane, look, page)
        if count < PAGE_CAP:
            depths.update(dict.fromkeys(shown, look.requests))
        await _breathe(lane, look)
    lane.depths = depths if count < look.requests else {}
    if look.waiting:
        await _unlisted(lane, look)


async def _singly(lane: Lane, look: _Look) -> bool:
    """Read each open run by itself; False where one is missing, which only a listing can settle."""
    found: list[Snapshot] = []
    try:
        for remote_id in look.waiting:
            look.requests += 1
            found.append(await lane.provider.get(remote_id))
    except (Missing, Rejected):
        return False
    finally:
        await _page(lane, look, Page(items=tuple(found)))
    return True


async def _page(lane: Lane, look: _Look, page: Page) -> Sequence[str]:
    """Write what changed of one page, and return which open runs it showed."""
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
        await look.outcomes.record(changed)
    return shown


async def _breathe(lane: Lane, look: _Look) -> None:
    """Between two pages: see that the claim is still ours, and let what is due to be sent go first."""
    now = anyio.current_time()
    if now - look.breathed < BETWEEN_SECONDS:
        return
    look.breathed = now
    if not lane.store.leases.holds(claim_on(look.account)):
        raise LeaseLost(f"another daemon is polling {lane.name}")
    await lane.between()


async def _unlisted(lane: Lane, look: _Look) -> None:
    """Settle what a complete listing did not show: lost only after two of them and a read."""
    ids, reads = list(look.waiting), READS_A_LOOK
    for start in range(0, len(ids), MOST_ASKED):
        now, runs = await lane.store.watch.bound(lane.name, ids[start : start + MOST_ASKED])
        moved: list[Transition] = []
        try:
            for run in runs.values():
                if run.looks + 1 < LISTINGS_BEFORE_LOST:
                    moved.append(Transition(before=run, run=replace(run, looks=run.looks + 1)))
                elif reads > 0 and _judged(lane, run, now):
                    reads -= 1
                    moved += await _missing(lane, look, run, now)
        finally:
            await write(lane, [each for each in moved if not each.before.status.final])


def _judged(lane: Lane, run: Run, now: datetime) -> bool:
    """Say whether its absence may count by now: where nothing can be read, a listing may lag for long."""
    patience = timedelta() if lane.provider.can("get") else lane.options.doubt_window
    return not run.status.final and now - (run.submitted_at or run.updated_at) >= patience


async def _missing(lane: Lane, look: _Look, run: Run, now: datetime) -> Sequence[Transition]:
    try:
        if lane.provider.can("get") and run.remote_id is not None:
            await look.outcomes.record([await lane.provider.get(run.remote_id)])
            return ()
    except Missing:
        pass
    status = Status.CANCELLED if run.cancel else Status.LOST
    message = "the provider no longer has it" + (", as requested" if run.cancel else "")
    return (finish(run, now, status=status, message=message),)
