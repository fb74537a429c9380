"""Which daemons are alive, by what they last wrote."""

from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa

from orchestrator.store.database import Database, Tx
from orchestrator.store.tables import daemons

FRESH = timedelta(seconds=20)
"""A daemon that wrote more recently than this is taken to be alive; it writes every 5 s."""


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

    def __init__(self, database: Database, project: str, owner: str) -> None:
        self._database = database
        self._project = project
        self._owner = owner
        self._begun = False

    async def beat(self, *, host: str, pid: int, address: str | None) -> None:
        """Say that this daemon lives; the first time, forget those that have been silent for a day."""

        async def work(tx: Tx) -> None:
            statement = tx.insert(daemons).values(
                project=self._project,
                owner=self._owner,
                host=host,
                pid=pid,
                address=address,
                started_at=tx.now,
                seen_at=tx.now,
            )
            await tx.execute(
                statement.on_conflict_do_update(
                    index_elements=["project", "owner"], set_={"seen_at": tx.now, "address": address}
                )
            )
            if not self._begun:
                await tx.execute(
                    sa.delete(daemons).where(
                        daemons.c.project == self._project, daemons.c.seen_at < tx.now - timedelta(days=1)
                    )
                )

        await self._database.write(work, quiet=True)
        self._begun = True

    async def leave(self) -> None:
        """Say that this daemon ends."""

        async def work(tx: Tx) -> None:
            await tx.execute(
                sa.update(daemons)
                .where(daemons.c.project == self._project, daemons.c.owner == self._owner)
                .values(seen_at=tx.now, ended_at=tx.now)
            )

        await self._database.write(work)

    async def latest(self) -> Beat | None:
        """Return the daemon that was seen last, one that still runs before all that ended."""

        async def work(tx: Tx) -> Beat | None:
            runs = sa.and_(daemons.c.ended_at.is_(None), daemons.c.seen_at > tx.now - FRESH)
            row = (
                await tx.execute(
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
                fresh=row.ended_at is None and tx.now - row.seen_at < FRESH,
            )

        return await self._database.read(work)
