"""How hooks and their origins stand: switched off, failing, resting; healed when their table changes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from orchestrator.core.delivery import DeliveryState
from orchestrator.core.receiver import Breaker, HookHealth
from orchestrator.store.commit import notify
from orchestrator.store.database import Database, Tx
from orchestrator.store.rows import PENDING, hook_health_values, to_hook_health
from orchestrator.store.tables import deliveries, hooks, origins


@dataclass(frozen=True, kw_only=True, slots=True)
class Declared:
    """What the files say of a hook, as far as it is remembered."""

    digest: str
    origin: str


@dataclass(frozen=True, kw_only=True, slots=True)
class HookStanding:
    """One hook, what waits for it, and since when its origin rests."""

    health: HookHealth
    waiting: int = 0
    rests_until: datetime | None = None


def lock_gate(tx: Tx, project: str, hook: str, origin: str) -> None:
    """Let nobody else write how a hook and its origin stand until this transaction ends.

    Whoever locks several does it in one order: hooks, origins, deliveries, each by name.
    """
    if tx.connection.dialect.name == "postgresql":
        mine = sa.and_(hooks.c.project == project, hooks.c.name == hook)
        tx.execute(sa.select(hooks.c.name).where(mine).with_for_update())
        shared = sa.and_(origins.c.project == project, origins.c.origin == origin)
        tx.execute(sa.select(origins.c.origin).where(shared).with_for_update())


def lock_gates(tx: Tx, project: str, names: Sequence[str] | None = None) -> Sequence[HookHealth]:
    """Lock these hooks, or all, and their origins; returns how those stand of which something is known."""
    mine = [hooks.c.project == project, *([hooks.c.name.in_(list(names))] if names is not None else [])]
    found = tx.execute(sa.select(hooks).where(*mine).order_by(hooks.c.name).with_for_update())
    healths = [to_hook_health(row) for row in found]
    places = sorted({one.origin for one in healths})
    shared = sa.and_(origins.c.project == project, origins.c.origin.in_(places))
    tx.execute(sa.select(origins.c.origin).where(shared).order_by(origins.c.origin).with_for_update())
    return healths


def read_gate(tx: Tx, project: str, hook: str, origin: str) -> tuple[HookHealth, Breaker]:
    """Read how a hook and its origin stand; what was never in trouble has no row."""
    resting = sa.and_(origins.c.project == hooks.c.project, origins.c.origin == origin)
    row = (
        tx.execute(
            sa.select(hooks, origins.c.failures, origins.c.open_until)
            .outerjoin(origins, resting)
            .where(hooks.c.project == project, hooks.c.name == hook)
        )
    ).one_or_none()
    if row is None:
        return HookHealth(name=hook, origin=origin), Breaker()
    health = replace(to_hook_health(row), origin=origin)
    return health, Breaker(failures=row.failures or 0, open_until=row.open_until)


def write_health(tx: Tx, project: str, health: HookHealth) -> None:
    """Write how a hook stands."""
    values = hook_health_values(health)
    _put(tx, hooks, {"project": project, "name": health.name}, values)


def write_breaker(
    tx: Tx, project: str, origin: str, breaker: Breaker, *, seen: Breaker | None = None
) -> bool:
    """Write how an origin stands; with `seen`, only where it still stands so."""
    values = {"failures": breaker.failures, "open_until": breaker.open_until}
    if seen is None:
        _put(tx, origins, {"project": project, "origin": origin}, values)
        return True
    changed = tx.execute(
        sa.update(origins)
        .where(
            origins.c.project == project,
            origins.c.origin == origin,
            origins.c.open_until == seen.open_until,
        )
        .values(values)
    )
    return changed.rowcount == 1


def _put(tx: Tx, table: sa.Table, key: Mapping[str, Any], values: Mapping[str, Any]) -> None:
    rest = {name: value for name, value in values.items() if name not in key}
    tx.execute(
        tx.insert(table).values({**key, **rest}).on_conflict_do_update(index_elements=list(key), set_=rest)
    )


class Hooks:
    """How the hooks of one project stand."""

    def __init__(self, database: Database, project: str) -> None:
        self._database = database
        self._project = project

    async def declare(self, tables: Mapping[str, Declared]) -> Sequence[str]:
        """Remember the tables of the files, and heal every hook whose table changed; returns their names."""
        if await self._same(tables):
            return ()

        def work(tx: Tx) -> Sequence[str]:
            known = {one.name: one for one in lock_gates(tx, self._project)}
            changed = []
            for name, table in tables.items():
                before = known.get(name)
                if before is not None and before.digest == table.digest and before.declared:
                    continue
                fresh = HookHealth(name=name, origin=table.origin, digest=table.digest)
                if before is not None and before.digest:
                    changed.append(name)
                    heal(tx, self._project, before)
                write_health(tx, self._project, fresh)
            tx.execute(
                sa.update(hooks)
                .where(hooks.c.project == self._project, hooks.c.name.not_in(list(tables)))
                .values(declared=False)
            )
            notify(tx, self._project)
            return changed

        return await self._database.write(work)

    async def _same(self, tables: Mapping[str, Declared]) -> bool:
        def work(tx: Tx) -> bool:
            rows = self._rows(tx)
            return {one.name: one.digest for one in rows if one.declared} == {
                name: table.digest for name, table in tables.items()
            }

        return await self._database.read(work)

    def _rows(self, tx: Tx) -> Sequence[HookHealth]:
        found = tx.execute(sa.select(hooks).where(hooks.c.project == self._project).order_by(hooks.c.name))
        return [to_hook_health(row) for row in found]

    async def unfit(self, name: str, why: str | None) -> bool:
        """Remember that a hook cannot work, or that it can; what waits is sent once it can.

        Says whether that is news.
        """

        def work(tx: Tx) -> bool:
            mine = sa.and_(hooks.c.project == self._project, hooks.c.name == name)
            row = (tx.execute(sa.select(hooks).where(mine))).one_or_none()
            if row is None or row.unfit == why:
                return False
            tx.execute(sa.update(hooks).where(mine).values(unfit=why))
            if why is None:
                _hurry(tx, self._project, name)
                notify(tx, self._project)
            return True

        return await self._database.write(work)

    async def all(self) -> Sequence[HookStanding]:
        """Return every hook that is declared or that something waits for."""

        def work(tx: Tx) -> Sequence[HookStanding]:
            counted = tx.execute(
                sa.select(deliveries.c.hook, sa.func.count().label("waiting"))
                .where(deliveries.c.project == self._project, deliveries.c.state == PENDING)
                .group_by(deliveries.c.hook)
            )
            waiting = {row.hook: int(row.waiting) for row in counted}
            found = tx.execute(sa.select(origins).where(origins.c.project == self._project))
            resting = {
                row.origin: row.open_until for row in found if row.open_until and row.open_until > tx.now
            }
            known = {one.name: one for one in self._rows(tx)}
            unknown = {name: HookHealth(name=name, declared=False) for name in waiting if name not in known}
            return [
                HookStanding(health=one, waiting=waiting.get(name, 0), rests_until=resting.get(one.origin))
                for name, one in sorted((known | unknown).items())
                if one.declared or waiting.get(name)
            ]

        return await self._database.read(work)


def heal(tx: Tx, project: str, before: HookHealth) -> None:
    """Switch a hook on again: what waits is due now, what its switching off ended is sent after all.

    It is called with the hook's gate locked.
    """
    if before.off_at is not None:
        tx.execute(
            sa.update(deliveries)
            .where(
                deliveries.c.project == project,
                deliveries.c.hook == before.name,
                deliveries.c.state == DeliveryState.DEAD,
                deliveries.c.settled_at >= before.off_at,
            )
            .values(state=DeliveryState.PENDING, settled_at=None, attempts=0, deferrals=0, due_at=tx.now)
        )
    mine = sa.and_(hooks.c.project == project, hooks.c.name == before.name)
    well = {"off": None, "off_at": None, "failing_since": None, "refusals": 0, "code": None, "answer": None}
    tx.execute(sa.update(hooks).where(mine).values(well))
    tx.execute(sa.delete(origins).where(origins.c.project == project, origins.c.origin == before.origin))
    _hurry(tx, project, before.name)


def _hurry(tx: Tx, project: str, hook: str) -> None:
    tx.execute(
        sa.update(deliveries)
        .where(
            deliveries.c.project == project,
            deliveries.c.hook == hook,
            deliveries.c.state == PENDING,
            sa.or_(deliveries.c.attempts > 0, deliveries.c.deferrals > 0),
            deliveries.c.lease_until.is_(None),
        )
        .values(due_at=tx.now, attempts=0, deferrals=0)
    )
