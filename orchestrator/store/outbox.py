"""Deliveries: claimed in order for each job and hook, settled once, kept for those who ask."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Final

import sqlalchemy as sa

from orchestrator.core.delivery import Delivery, DeliveryState, Finished, settled
from orchestrator.core.event import EventType
from orchestrator.core.receiver import OPENS_AT, Breaker, HookHealth, heard, rested
from orchestrator.store.claim import Claim
from orchestrator.store.database import Database, Tx
from orchestrator.store.hooks import lock_gate, read_gate, write_breaker, write_health
from orchestrator.store.lease import Leases
from orchestrator.store.rows import PENDING, to_delivery
from orchestrator.store.tables import accounts, deliveries, events, hooks, runs

LOOKED_AT: Final = 64
"""How many heads are looked at for the next that is due; far more than are ever under way."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """What one transaction brought: claims, and how the hook stands after what was settled."""

    claimed: Sequence[Delivery] = ()
    settled: Sequence[Delivery] = ()
    lost: int = 0
    """How many settlements came too late, since another worker has the delivery by now."""
    before: HookHealth | None = None
    after: HookHealth | None = None
    patience: int = OPENS_AT
    """How many troubles in a row it takes until the origin rests; 0 where it does, or the hook is off."""
    eased: bool = False
    """Whether the origin's rest has ended by this: its other hooks may go on."""


class Outbox:
    """The deliveries of one project."""

    def __init__(self, database: Database, project: str, leases: Leases) -> None:
        self._database = database
        self._project = project
        self._leases = leases

    async def next_batch(
        self, hook: str, origin: str, finished: Sequence[Finished] = (), *, most: int, probe: timedelta
    ) -> Batch:
        """Settle what is finished and claim what is due of `hook`, in one transaction.

        Of each job only the oldest that is not settled is claimed; nothing of a hook that is switched off
        or whose origin rests. `probe` is how long the one attempt may take that tries a resting origin.
        """
        if not finished and (most < 1 or not await self._any(hook)):
            return Batch()

        def work(tx: Tx, taken: list[Claim]) -> Batch:
            if finished:
                lock_gate(tx, self._project, hook, origin)
            before, breaker = read_gate(tx, self._project, hook, origin)
            after, then = before, breaker
            counted = [one.by(before.digest) for one in finished]
            for one in counted:
                after = heard(after, one.attempt, tx.now)
                then = rested(then, one.attempt, tx.now)
            done = [settled(one.delivery, one.attempt, tx.now, jitter=one.jitter) for one in counted]
            written = self._settle(tx, done)
            if after != before:
                write_health(tx, self._project, after)
            if then != breaker:
                write_breaker(tx, self._project, origin, then)
            shut = after.off is not None or then.rests(tx.now)
            claimed = () if shut else self._claim(tx, hook, origin, then, taken, most=most, probe=probe)
            return Batch(
                claimed=claimed,
                settled=done,
                lost=len(done) - written,
                before=before,
                after=after,
                patience=0 if shut else max(OPENS_AT - then.failures, 1),
                eased=breaker.failures >= OPENS_AT > then.failures,
            )

        # Nobody waits for a settlement but the loop that makes it, and hooks that rested with this one.
        made = await self._leases.claim(work, quiet=True, yields=True)
        self._leases.drop(*(claim_on(one.delivery) for one in finished))
        for listener in self._database.listeners if made.eased else ():
            listener()
        return made

    def _settle(self, tx: Tx, done: Sequence[Delivery]) -> int:
        if not done:
            return 0
        names = ("state", "attempts", "deferrals", "due_at", "settled_at", "last_error")
        statement = (
            sa.update(deliveries)
            .where(deliveries.c.id == sa.bindparam("b_id"), deliveries.c.epoch == sa.bindparam("b_epoch"))
            .values(
                {name: sa.bindparam(f"v_{name}") for name in names} | {"owner": None, "lease_until": None}
            )
        )
        rows = [
            {f"v_{name}": getattr(one, name) for name in names} | {"b_id": one.id, "b_epoch": one.epoch}
            for one in sorted(done, key=lambda one: one.id)
        ]
        return int((tx.execute(statement, rows)).rowcount)

    def _claim(
        self,
        tx: Tx,
        hook: str,
        origin: str,
        breaker: Breaker,
        taken: list[Claim],
        *,
        most: int,
        probe: timedelta,
    ) -> Sequence[Delivery]:
        if most < 1:
            return ()
        probing = breaker.failures >= OPENS_AT
        while True:
            limit = 1 if probing else most
            chosen = tx.execute(self._due(tx, hook).limit(limit).with_for_update(skip_locked=True))
            found = [to_delivery(row) for row in chosen]
            over = self._over(tx, [one for one in found if one.lasting and not one.attempts])
            if not over:
                break
            self._drop(tx, over)
        if found and probing:
            # Whoever moves the time may send: one attempt, from all hooks and processes.
            until = replace(breaker, open_until=tx.now + probe)
            if not write_breaker(tx, self._project, origin, until, seen=breaker):
                return ()
        if not found:
            return ()
        rows = self._leases.take(tx, deliveries, [one.id for one in found], taken)
        return [to_delivery(row) for row in rows]

    def _over(self, tx: Tx, found: Sequence[Delivery]) -> Sequence[str]:
        """Return those that tell of a state that was left before it had lasted."""
        if not found:
            return ()
        paused = sa.case((accounts.c.paused.is_(None), EventType.RESUMED), else_=EventType.PAUSED)
        held = sa.case(
            (events.c.run_id.is_(None), paused == events.c.type), else_=runs.c.status == events.c.status
        )
        account = sa.and_(accounts.c.project == events.c.project, accounts.c.name == events.c.account)
        rows = tx.execute(
            sa.select(deliveries.c.id)
            .join(events, events.c.id == deliveries.c.event_id)
            .outerjoin(runs, runs.c.id == events.c.run_id)
            .outerjoin(accounts, account)
            .where(deliveries.c.id.in_([one.id for one in found]), sa.not_(sa.func.coalesce(held, sa.true())))
        )
        return [row.id for row in rows]

    def _drop(self, tx: Tx, ids: Sequence[str]) -> None:
        tx.execute(
            sa.update(deliveries)
            .where(deliveries.c.id.in_(ids))
            .values(
                state=DeliveryState.DROPPED,
                due_at=None,
                settled_at=tx.now,
                last_error="not sent: the state did not last",
                epoch=deliveries.c.epoch + 1,  # whoever held it once settles nothing any more
                owner=None,
                lease_until=None,
            )
        )

    async def _any(self, hook: str) -> bool:
        """Look before an SQLite file is locked for writing; PostgreSQL has no such lock."""
        if not self._database.sqlite:
            return True

        def work(tx: Tx) -> bool:
            found = tx.execute(self._due(tx, hook).with_only_columns(deliveries.c.id).limit(1))
            return found.first() is not None

        return await self._database.read(work)

    def _due(self, tx: Tx, hook: str) -> sa.Select[Any]:
        return (
            sa.select(deliveries)
            .where(
                self._head(),
                deliveries.c.hook == hook,
                deliveries.c.due_at <= tx.now,
                self._leases.free(deliveries, tx),
            )
            .order_by(deliveries.c.due_at, deliveries.c.event_id)
        )

    def _head(self) -> sa.ColumnElement[bool]:
        first = deliveries.alias("first")
        older = sa.exists().where(
            first.c.project == self._project,
            first.c.hook == deliveries.c.hook,
            first.c.lane == deliveries.c.lane,
            first.c.state == PENDING,
            first.c.event_id < deliveries.c.event_id,
        )
        return sa.and_(self._waiting(), sa.not_(older))

    def _waiting(self) -> sa.ColumnElement[bool]:
        return sa.and_(deliveries.c.project == self._project, deliveries.c.state == PENDING)

    def _off(self) -> sa.ColumnElement[bool]:
        return sa.exists().where(
            hooks.c.project == self._project,
            hooks.c.name == deliveries.c.hook,
            sa.or_(hooks.c.off.is_not(None), sa.not_(hooks.c.declared)),
        )

    async def wait(self, hook: str, origin: str) -> timedelta | None:
        """Return how long it is until a delivery of `hook` may be claimed, None where none will be."""

        def work(tx: Tx) -> timedelta | None:
            health, breaker = read_gate(tx, self._project, hook, origin)
            if health.off is not None:
                return None
            found = tx.execute(
                sa.select(deliveries.c.due_at, deliveries.c.lease_until)
                .where(self._head(), deliveries.c.hook == hook)
                .order_by(deliveries.c.due_at, deliveries.c.event_id)
                .limit(LOOKED_AT)
            )
            # One that is claimed is not due before its lease ends, one that is behind it not at all.
            free = [max(row.due_at, row.lease_until or row.due_at) for row in found]
            return max(min(free), breaker.open_until or tx.now) - tx.now if free else None

        wait = await self._database.read(work)
        return None if wait is None else max(wait, timedelta(0))

    async def due(self) -> bool:
        """Say whether anything is due, or under way, now, for hooks that are switched on."""

        def work(tx: Tx) -> bool:
            due = sa.select(deliveries.c.id).where(
                self._head(), deliveries.c.due_at <= tx.now, sa.not_(self._off())
            )
            return (tx.execute(due.limit(1))).first() is not None

        return await self._database.read(work)

    async def unsettled(self, hooks: Sequence[str] | None = None) -> int:
        """Count what waits to be delivered: all of it, or what will be sent to these hooks by itself."""

        def work(tx: Tx) -> int:
            counted = sa.select(sa.func.count()).select_from(deliveries).where(self._waiting())
            if hooks is not None:
                counted = counted.where(deliveries.c.hook.in_(list(hooks)), sa.not_(self._off()))
            return int((tx.execute(counted)).scalar_one())

        return await self._database.read(work)

    async def log(
        self, *, after: str | None = None, hook: str | None = None, job: str | None = None, most: int = 1000
    ) -> Sequence[Delivery]:
        """Return deliveries oldest first: those after the one with id `after`, else the latest `most`."""
        place = (deliveries.c.event_id, deliveries.c.hook)

        def work(tx: Tx) -> Sequence[Delivery]:
            where = [deliveries.c.project == self._project]
            where += [deliveries.c.hook == hook] if hook is not None else []
            where += [deliveries.c.job == job] if job is not None else []
            statement = sa.select(deliveries).where(*where)
            if after is not None:
                seen = (tx.execute(sa.select(*place).where(deliveries.c.id == after))).one_or_none()
                later = sa.false() if seen is None else sa.tuple_(*place) > sa.tuple_(*seen)
                found = tx.execute(statement.where(later).order_by(*place).limit(most))
                return [to_delivery(row) for row in found]
            latest = statement.order_by(*(column.desc() for column in place)).limit(most)
            return [to_delivery(row) for row in tx.execute(latest)][::-1]

        return await self._database.read(work)


def claim_on(delivery: Delivery) -> Claim:
    """Name the claim that `delivery` was read with."""
    return Claim("deliveries", delivery.id, delivery.epoch)
