"""Which daemons are alive, by what they last wrote."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa

from orchestrator.store.claim import BEAT
from orchestrator.store.commit import notify
from orchestrator.store.database import Database, Tx
from orchestrator.store.lease import Leases
from orchestrator.store.owner import alive
from orchestrator.store.tables import daemons

FRESH = timedelta(seconds=20)
"""A daemon that wrote more recently than this is taken to be alive; it writes with every beat."""
SILENT = BEAT * 1.5
"""After this a daemon of this machine is dead that has no process any more."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Beat:
    """A daemon's last sign of life."""

    owner: str
    host: str
    pid: int
    address: str | None
    started_at: datetime
    seen_at: datetime
    fresh: bool


class Daemons:
    """The daemons of one project."""

    def __init__(self, database: Database, project: str, leases: Leases) -> None:
        self._database = database
        self._project = project
        self._leases = leases
        self._owner = leases.owner
        self._begun = False

    async def beat(self, *, host: str, pid: int, address: str | None) -> datetime:
        """Say that this daemon lives and renew its claims; what dead ones held is free then.

        Returns the database's time. The first time, those that have been silent for a day are forgotten.
        """

        def sign(tx: Tx) -> Sequence[str]:
            statement = tx.insert(daemons).values(
                project=self._project,
                owner=self._owner,
                host=host,
                pid=pid,
                address=address,
                started_at=tx.now,
                seen_at=tx.now,
            )
            tx.execute(
                statement.on_conflict_do_update(
                    index_elements=["project", "owner"],
                    set_={"seen_at": tx.now, "address": address, "ended_at": None},
                )
            )
            if not self._begun:
                tx.execute(
                    sa.delete(daemons).where(
                        daemons.c.project == self._project, daemons.c.seen_at < tx.now - timedelta(days=1)
                    )
                )
            return self._dead(tx)

        now = await self._leases.beat(sign)
        self._begun = True
        return now

    def _dead(self, tx: Tx) -> Sequence[str]:
        """Find the daemons of this machine that ended without a word, and write down that they have."""
        others = sa.and_(
            daemons.c.project == self._project, daemons.c.owner != self._owner, daemons.c.ended_at.is_(None)
        )
        found = tx.execute(sa.select(daemons.c.owner, daemons.c.seen_at).where(others))
        # In a container its number may name no process here, though it lives: then it is not silent.
        silent = [row.owner for row in found if not tx.now - SILENT < row.seen_at <= tx.now]
        dead = sorted(owner for owner in silent if not alive(owner))
        if dead:
            ended = sa.update(daemons).where(others, daemons.c.owner.in_(dead))
            tx.execute(ended.values(ended_at=tx.now))
        return dead

    async def leave(self) -> None:
        """Say that this daemon ends."""

        def work(tx: Tx) -> None:
            tx.execute(
                sa.update(daemons)
                .where(daemons.c.project == self._project, daemons.c.owner == self._owner)
                .values(seen_at=tx.now, ended_at=tx.now)
            )
            notify(tx, self._project)

        await self._database.write(work)

    async def latest(self) -> Beat | None:
        """Return the daemon that was seen last, one that still runs before all that ended."""

        def work(tx: Tx) -> Beat | None:
            # One that was seen in times to come wrote before the clock was put back, and would have since.
            near = daemons.c.seen_at.between(tx.now - FRESH, tx.now + FRESH)
            runs = sa.and_(daemons.c.ended_at.is_(None), near)
            row = (
                tx.execute(
                    sa.select(daemons)
                    .where(daemons.c.project == self._project)
                    .order_by(sa.case((runs, 0), else_=1), daemons.c.seen_at.desc())
                    .limit(1)
                )
            ).one_or_none()
            if row is None:
                return None
            return Beat(
                owner=row.owner,
                host=row.host,
                pid=row.pid,
                address=row.address,
                started_at=row.started_at,
                seen_at=row.seen_at,
                fresh=row.ended_at is None and abs(tx.now - row.seen_at) < FRESH,
            )

        return await self._database.read(work)
