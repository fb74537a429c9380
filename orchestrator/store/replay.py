"""What people and time do to deliveries: send again, fill in, hand over, drop, forget."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Final

import sqlalchemy as sa

from orchestrator.core.delivery import DeliveryState, Route, fan_out
from orchestrator.core.event import Event
from orchestrator.core.run import FINAL, Run, Status
from orchestrator.store.commit import Routing, hearers, make_id, notify
from orchestrator.store.database import Database, Tx
from orchestrator.store.hooks import heal, lock_gates
from orchestrator.store.rows import PENDING, delivery_values, to_event, to_run
from orchestrator.store.tables import deliveries, events, runs

BATCH: Final = 500


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """Which deliveries: one by its id, or those of a hook, in a state, since a time."""

    id: str | None = None
    hook: str | None = None
    dead: bool = False
    since: timedelta | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Told:
    """An event, the hooks that its job names, and whether its run is the one that the job stands by."""

    event: Event
    named: tuple[str, ...]
    current: bool


class Replay:
    """Changes to the deliveries of one project that no attempt makes."""

    def __init__(self, database: Database, project: str) -> None:
        self._database = database
        self._project = project

    async def again(self, choice: Choice, *, new_id: bool = False) -> Sequence[tuple[str, str]]:
        """Let what `choice` names be sent again, at once and in order, and switch its hooks on.

        Returns the id and the hook of each; what is under way at this moment is left alone.
        """

        def work(tx: Tx) -> Sequence[tuple[str, str]]:
            where = self._where(tx, choice)
            columns = (deliveries.c.id, deliveries.c.hook)
            hooks = tx.execute(sa.select(deliveries.c.hook).where(*where).distinct())
            names = {row.hook for row in hooks} | ({choice.hook} if choice.hook is not None else set())
            standing = lock_gates(tx, self._project, sorted(names))
            # Locked before they are judged, or one that is claimed meanwhile would be sent twice.
            found = tx.execute(
                sa.select(*columns).where(*where).order_by(deliveries.c.event_id).with_for_update()
            )
            chosen = [(row.id, make_id("msg") if new_id else row.id, row.hook) for row in found]
            for one in standing:
                heal(tx, self._project, one)
            if chosen:
                rows = [{"b_id": old, "v_id": new, "v_due_at": tx.now} for old, new, _ in chosen]
                tx.execute(_renewed(), rows)
            notify(tx, self._project)
            return [(new, hook) for _, new, hook in chosen]

        return await self._database.write(work)

    def _where(self, tx: Tx, choice: Choice) -> Sequence[sa.ColumnElement[bool]]:
        free = sa.or_(deliveries.c.lease_until.is_(None), deliveries.c.lease_until < tx.now)
        where = [deliveries.c.project == self._project, free]
        if choice.id is not None:
            where.append(deliveries.c.id == choice.id)
        if choice.hook is not None:
            where.append(deliveries.c.hook == choice.hook)
        if choice.dead:
            where.append(deliveries.c.state == DeliveryState.DEAD)
        if choice.since is not None:
            told = sa.select(events.c.id).where(
                events.c.project == self._project, events.c.timestamp >= tx.now - choice.since
            )
            where.append(deliveries.c.event_id.in_(told))
        elif choice.id is None and not choice.dead:
            where.append(deliveries.c.state == PENDING)
        return where

    async def fill(
        self, hook: str, since: timedelta, routing: Routing, jobs: Mapping[str, Sequence[str]]
    ) -> int:
        """Make the deliveries that `hook` would have got since then, had it been there; returns how many.

        `jobs` names the hooks of each job, by the files as they are now.
        """

        def work(tx: Tx) -> int:
            route = routing.hooks.get(hook, Route(name=hook))
            there = sa.select(deliveries.c.event_id).where(
                deliveries.c.project == self._project, deliveries.c.hook == hook
            )
            found = tx.execute(
                sa.select(events)
                .where(
                    events.c.project == self._project,
                    events.c.timestamp >= tx.now - since,
                    events.c.id.not_in(there),
                )
                .order_by(events.c.id)
            )
            missed = [to_event(row) for row in found]
            about = self._runs(tx, missed)
            bodies = self._bodies(tx, missed)
            told = [(event, about.get(event.run_id or "")) for event in missed]
            made: list[dict[str, Any]] = []
            for event, run, names, current in hearers(tx, self._project, told, routing):
                if hook not in jobs.get(event.job or "", names):
                    continue
                then = _as_then(event, run)
                for one in fan_out(event, then, [route], current=current, make_id=lambda: make_id("msg")):
                    values = delivery_values(one) | {"due_at": tx.now, "lasting": False}
                    made.append(values | {"body": bodies.get(event.id or 0, one.body)})
            if made:
                tx.execute(sa.insert(deliveries), made)
                notify(tx, self._project)
            return len(made)

        return await self._database.write(work)

    def _runs(self, tx: Tx, told: Sequence[Event]) -> dict[str, Run]:
        ids = sorted({event.run_id for event in told if event.run_id is not None})
        found: dict[str, Run] = {}
        for start in range(0, len(ids), BATCH):
            rows = tx.execute(sa.select(runs).where(runs.c.id.in_(ids[start : start + BATCH])))
            found |= {row.id: to_run(row) for row in rows}
        return found

    def _bodies(self, tx: Tx, told: Sequence[Event]) -> dict[int, bytes]:
        """Return the bytes that other hooks got of the same events: what is told is the same for all."""
        ids = [event.id for event in told]
        found: dict[int, bytes] = {}
        for start in range(0, len(ids), BATCH):
            rows = tx.execute(
                sa.select(deliveries.c.event_id, deliveries.c.body).where(
                    deliveries.c.event_id.in_(ids[start : start + BATCH])
                )
            )
            found |= {row.event_id: row.body for row in rows}
        return found

    async def audience(self, job: str, routing: Routing, *, most: int = 1000) -> Sequence[Told]:
        """Return the latest events of `job`, with the hooks that it names and whether the run stands."""

        def work(tx: Tx) -> Sequence[Told]:
            found = tx.execute(
                sa.select(events)
                .where(events.c.project == self._project, events.c.job == job)
                .order_by(events.c.id.desc())
                .limit(most)
            )
            happened = [to_event(row) for row in found][::-1]
            about = self._runs(tx, happened)
            told = [(event, about.get(event.run_id or "")) for event in happened]
            return [
                Told(event=event, named=names, current=current)
                for event, _, names, current in hearers(tx, self._project, told, routing)
            ]

        return await self._database.read(work)

    async def hand_over(self, hook: str, heir: str) -> int:
        """Let `heir` get what waits for `hook`, less what it has; returns how much that is."""

        def work(tx: Tx) -> int:
            lock_gates(tx, self._project, [hook])
            has = sa.select(deliveries.c.event_id).where(
                deliveries.c.project == self._project, deliveries.c.hook == heir
            )
            moved = tx.execute(
                sa.update(deliveries)
                .where(*self._waiting(hook), deliveries.c.event_id.not_in(has.scalar_subquery()))
                .values(hook=heir, attempts=0, deferrals=0, due_at=tx.now, epoch=deliveries.c.epoch + 1)
                .values(owner=None, lease_until=None)
            )
            notify(tx, self._project)
            return int(moved.rowcount)

        return await self._database.write(work)

    async def drop(self, hook: str) -> int:
        """Give up what waits for `hook`; returns how much that was."""

        def work(tx: Tx) -> int:
            lock_gates(tx, self._project, [hook])
            dropped = tx.execute(
                sa.update(deliveries)
                .where(*self._waiting(hook))
                .values(
                    state=DeliveryState.DROPPED,
                    due_at=None,
                    settled_at=tx.now,
                    epoch=deliveries.c.epoch + 1,
                    owner=None,
                    lease_until=None,
                )
            )
            notify(tx, self._project)
            return int(dropped.rowcount)

        return await self._database.write(work)

    def _waiting(self, hook: str) -> Sequence[sa.ColumnElement[bool]]:
        return (
            deliveries.c.project == self._project,
            deliveries.c.hook == hook,
            deliveries.c.state == PENDING,
        )


def _renewed() -> sa.Update:
    return (
        sa.update(deliveries)
        .where(deliveries.c.id == sa.bindparam("b_id"))
        .values(
            id=sa.bindparam("v_id"),
            state=DeliveryState.PENDING,
            attempts=0,
            deferrals=0,
            due_at=sa.bindparam("v_due_at"),
            settled_at=None,
            # Whoever holds it settles nothing any more.
            epoch=deliveries.c.epoch + 1,
            owner=None,
            lease_until=None,
            lasting=False,
        )
    )


def _as_then(event: Event, run: Run | None) -> Run | None:
    """Take from a run what it had not come to when `event` was told."""
    if run is None:
        return None
    return replace(
        run,
        result=run.result if event.status == Status.SUCCEEDED else None,
        finished_at=run.finished_at if event.status in FINAL else None,
    )
