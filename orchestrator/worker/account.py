"""One account at work: its provider, opened when first needed, and what every step of a round shares."""

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

log: structlog.stdlib.BoundLogger = structlog.get_logger("orchestrator.engine")

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
    """What a round on one account works with."""

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
    """Says that nothing new should be begun."""
    between: Callable[[], Awaitable[object]] = checkpoint
    """Does what is due to be sent, between two pages of a long listing."""
    preflight: Preflight | None = None
    """The last listing before purchases."""
    held: Account | None = None
    """The account as it is claimed by this process for polling, from one look to the next."""
    depths: Mapping[str, int] = field(default_factory=dict)
    """On which page the last listing showed each open run, where they are fewer than its pages."""
    usual: Mapping[str, Usual] = field(default_factory=dict)
    """When runs of this account end, by base model, and when that was learned."""
    learned_at: datetime | None = None
    late_at: datetime | None = None
    """Before this no run is overdue."""
    _round: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    _sending: bool = False

    @contextmanager
    def round(self) -> Iterator[None]:
        """Go round within, until `stop`."""
        with anyio.CancelScope() as self._round:
            yield

    @contextmanager
    def sending(self) -> Iterator[None]:
        """Let what happens within end before `stop` ends the round: it may be paid for, or half done."""
        self._sending = True
        try:
            yield
        finally:
            self._sending = False
            if self.stopping():
                self._round.cancel()

    def stop(self) -> None:
        """End the round that is under way: at once where it only reads."""
        if not self._sending:
            self._round.cancel()

    def reads_are_fewer(self, waiting: Collection[str]) -> bool:
        """Say whether reading each of `waiting` takes fewer requests than a listing down to the last."""
        if not self.depths or not self.provider.can("get"):
            return False
        # Where the newest come first a new one stands on the first page; elsewhere nobody knows.
        unknown = 1 if self.provider.facts.newest_first.value else None
        depths = [self.depths.get(remote_id, unknown) for remote_id in waiting]
        known = [depth for depth in depths if depth is not None]
        return len(known) == len(depths) and len(waiting) < max(known, default=0)

    @contextmanager
    def claimed(self, run: Run) -> Iterator[None]:
        """Let no request leave that changes something, once another process may have the run."""
        claim, http = claim_on(run), self.provider.http
        http.may_change = lambda: self.store.leases.sure(claim)
        try:
            yield
        finally:
            http.may_change = lambda: True

    async def move(self, run: Run, step: Step) -> Run:
        """Commit `step` and keep the claim."""
        moved = await self.store.work.move(run, step, self.routing)
        told(run, moved)
        return moved

    async def leave(self, run: Run, step: Step) -> Run | None:
        """Commit `step` and give the claim back; None where another worker has the run by now."""
        try:
            return await self.move(run, lambda run, now: step(run, now).released())
        except LeaseLost:
            log.info("run.taken_over", job=run.job, run=run.id)
            return None

    async def listing(self) -> tuple[Snapshot, ...]:
        """Read all that the account holds, to the end; anything less raises."""
        items: list[Snapshot] = []
        async for page in pages(self.provider):
            crashpoint.reach("page-listed")
            items += page.items
        return tuple({item.remote_id: item for item in items}.values())

    async def strangers(self, listed: tuple[Snapshot, ...]) -> tuple[Snapshot, ...]:
        """Leave out what is bound to a run already."""
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
