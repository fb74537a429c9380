"""One account at work: its provider and everything that the steps of a round share."""

from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

import anyio
import structlog
from anyio.lowlevel import checkpoint

from orchestrator import crashpoint
from orchestrator.config.manifest import AccountOptions
from orchestrator.core.cadence import Usual
from orchestrator.core.run import Run, Snapshot
from orchestrator.core.transition import Transition
from orchestrator.errors import LeaseLost
from orchestrator.providers.base import Provider
from orchestrator.providers.paging import pages
from orchestrator.store.accounts import Account
from orchestrator.store.commit import Routing
from orchestrator.store.store import Store
from orchestrator.store.work import claim_on
from orchestrator.worker.journal import Journal

log: structlog.stdlib.BoundLogger = structlog.get_logger("orchestrator.worker")

Step = Callable[[Run, datetime], Transition]


FRESH: Final = timedelta(seconds=30)
"""How long after its beginning a listing may precede a purchase."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Preflight:
    """A complete listing before purchases: what it showed that no run was bound to."""

    started: datetime
    unbound: tuple[Snapshot, ...]

    def serves(self, runs: Sequence[Run], now: datetime) -> bool:
        """Say whether it was begun after each of `runs` was recorded or came back, and not long ago."""
        fresh = timedelta() <= now - self.started < FRESH
        return fresh and all(run.updated_at <= self.started for run in runs)


@dataclass(kw_only=True)
class AccountWorker:
    """Works on one account, one round at a time."""

    name: str
    options: AccountOptions
    interval: timedelta
    provider: Provider
    store: Store
    routing: Routing
    journal: Journal
    jitter: Callable[[], float]
    """Gives a number from 0 to 1."""
    overdue: Mapping[str, timedelta] = field(default_factory=dict)
    """How long each job may take, for those that say so."""
    stopping: Callable[[], bool] = lambda: False
    """Says whether to begin nothing new."""
    between: Callable[[], Awaitable[object]] = checkpoint
    """Sends what is due, between two pages of a long listing."""
    preflight: Preflight | None = None
    """The last listing before purchases."""
    held: Account | None = None
    """The account as this process has claimed it for polling, kept from one poll to the next."""
    depths: Mapping[str, int] = field(default_factory=dict)
    """On which page the last listing showed each open run, if there are fewer runs than pages."""
    usual: Mapping[str, Usual] = field(default_factory=dict)
    """How long runs of this account take, by base model."""
    learned_at: datetime | None = None
    late_at: datetime | None = None
    """Before this no run is overdue."""
    _round: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    _sending: bool = False

    @contextmanager
    def round(self) -> Iterator[None]:
        """Run a round inside, which `stop` ends."""
        with anyio.CancelScope() as self._round:
            yield

    @contextmanager
    def sending(self) -> Iterator[None]:
        """Keep `stop` from cutting off what happens inside: it may be paid for, or half done."""
        self._sending = True
        try:
            yield
        finally:
            self._sending = False
            if self.stopping():
                self._round.cancel()

    def stop(self) -> None:
        """End the round: at once if it only reads, else after what is being sent."""
        if not self._sending:
            self._round.cancel()

    def reads_are_fewer(self, waiting: Collection[str]) -> bool:
        """Say whether reading each of `waiting` takes fewer requests than a listing down to the last."""
        if not self.depths or not self.provider.can("get"):
            return False
        # If the newest come first, a new run is on the first page; otherwise nobody knows.
        unknown = 1 if self.provider.facts.newest_first.value else None
        depths = [self.depths.get(remote_id, unknown) for remote_id in waiting]
        known = [depth for depth in depths if depth is not None]
        return len(known) == len(depths) and len(waiting) < max(known, default=0)

    @contextmanager
    def claimed(self, run: Run) -> Iterator[None]:
        """Inside, send no request that changes something once another process may have taken the run."""
        claim, http = claim_on(run), self.provider.http
        http.may_change = lambda: self.store.leases.sure(claim)
        try:
            yield
        finally:
            http.may_change = lambda: True

    async def move(self, run: Run, step: Step) -> Run:
        """Commit `step` and keep the run claimed."""
        moved = await self.store.work.move(run, step, self.routing)
        told(run, moved)
        return moved

    async def leave(self, run: Run, step: Step) -> Run | None:
        """Commit `step` and give the run back; None if another worker has taken it."""
        try:
            return await self.move(run, lambda run, now: step(run, now).released())
        except LeaseLost:
            log.info("run.taken_over", job=run.job, run=run.id)
            return None

    async def listing(self) -> tuple[Snapshot, ...]:
        """List everything in the account, to the end; raises if the listing is not complete."""
        items: list[Snapshot] = []
        async for page in pages(self.provider):
            crashpoint.reach("page-listed")
            items += page.items
        return tuple({item.remote_id: item for item in items}.values())

    async def strangers(self, listed: tuple[Snapshot, ...]) -> tuple[Snapshot, ...]:
        """Return the fine-tunes that no run is bound to."""
        ours: set[str] = set()
        ids = [item.remote_id for item in listed]
        for start in range(0, len(ids), 500):
            ours |= (await self.store.work.bound(self.name, ids[start : start + 500])).keys()
        return tuple(item for item in listed if item.remote_id not in ours)


def told(before: Run, after: Run) -> None:
    """Log one change of a run."""
    if before.status is not after.status or before.reason is not after.reason:
        log.info(
            "run.advanced",
            job=after.job,
            run=after.id,
            before=str(before.status),
            status=str(after.status),
            reason=after.reason and str(after.reason),
            remote_id=after.remote_id,
        )
