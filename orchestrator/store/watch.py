"""The open runs as a poll sees them: all at once, and asked about as a whole."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa

from orchestrator.core.cadence import Usual
from orchestrator.core.job import JsonObject
from orchestrator.core.run import Run, Status
from orchestrator.store.database import Database, Tx
from orchestrator.store.rows import to_run
from orchestrator.store.tables import OPEN_THERE, runs

MOST_ASKED: Final = 500
"""Ids in one statement: SQLite takes 32,766 parameters, PostgreSQL 65,535."""
REMEMBERED: Final = 200
"""Runs of an account that its usual lengths are learned from, the latest."""


@dataclass(kw_only=True, slots=True)
class OpenRuns:
    """What a poll is to see: the last word of each open run by the provider's id, as of `now`."""

    now: datetime
    words: dict[str, str | None]
    missed: frozenset[str]
    """Those that the last complete listing did not show."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Aging:
    """An open run that was not told to be overdue yet."""

    id: str
    job: str
    submitted_at: datetime
    base: str | None


class Watches:
    """Reads of the open runs of one project."""

    def __init__(self, database: Database, project: str) -> None:
        self._database = database
        self._project = project

    async def open(self, account: str) -> OpenRuns:
        """Return every run that the provider has open."""
        # Rows would cost three times as much as all else of a quiet look; ids hold no space.
        ids = sa.func.aggregate_strings(runs.c.remote_id, " ")
        kept = (runs.c.provider_status, runs.c.looks)
        statement = sa.select(*kept, ids.label("ids")).group_by(*kept)

        def work(tx: Tx) -> OpenRuns:
            words: dict[str, str | None] = {}
            missed: set[str] = set()
            for row in tx.execute(statement.where(self._mine(account), OPEN_THERE)):
                shown = row.ids.split(" ") if row.ids else []
                words.update(dict.fromkeys(shown, row.provider_status))
                missed.update(shown if row.looks else ())
            return OpenRuns(now=tx.now, words=words, missed=frozenset(missed))

        return await self._database.read(work)

    async def specs(self, accounts: Sequence[str]) -> Sequence[tuple[str, JsonObject]]:
        """Return account and spec of every run of `accounts` that is not final."""
        unfinished = [status for status in Status if not status.final]
        wanted = (
            runs.c.project == self._project,
            runs.c.account.in_(accounts),
            runs.c.status.in_(unfinished),
        )

        def work(tx: Tx) -> Sequence[tuple[str, JsonObject]]:
            found = tx.execute(sa.select(runs.c.account, runs.c.spec).where(*wanted))
            return [(row.account, row.spec) for row in found]

        return await self._database.read(work)

    async def bound(self, account: str, remote_ids: Sequence[str]) -> tuple[datetime, Mapping[str, Run]]:
        """Return the runs of `account` that have these ids, whatever their status, and when it was."""

        def work(tx: Tx) -> tuple[datetime, Mapping[str, Run]]:
            rows: list[Run] = []
            for start in range(0, len(remote_ids), MOST_ASKED):
                part = list(remote_ids[start : start + MOST_ASKED])
                found = tx.execute(sa.select(runs).where(self._mine(account), runs.c.remote_id.in_(part)))
                rows += map(to_run, found)
            return tx.now, {run.remote_id: run for run in rows if run.remote_id}

        return await self._database.read(work)

    async def lengths(self, account: str, base: str) -> Mapping[str, Sequence[timedelta]]:
        """Return how long the latest successes of `account` took, by what stands at the path `base`."""

        def work(tx: Tx) -> Mapping[str, Sequence[timedelta]]:
            took: dict[str, list[timedelta]] = {}
            found = tx.execute(
                sa.select(_base(base).label("base"), runs.c.submitted_at, runs.c.finished_at)
                .where(
                    self._mine(account),
                    runs.c.finished_at.is_not(None),
                    runs.c.submitted_at.is_not(None),
                    runs.c.status == Status.SUCCEEDED,
                )
                .order_by(runs.c.finished_at.desc())
                .limit(REMEMBERED)
            )
            for row in found:
                took.setdefault(row.base or "", []).append(row.finished_at - row.submitted_at)
            return took

        return await self._database.read(work)

    async def near_end(
        self, account: str, base: str, usual: Mapping[str, Usual], *, within: timedelta
    ) -> bool:
        """Say whether an open run is as old as those that end, or will be `within` that time."""

        def work(tx: Tx) -> bool:
            def aged(known: Usual) -> sa.ColumnElement[bool]:
                youngest = tx.now - known.begins + within
                return runs.c.submitted_at.between(tx.now - known.ends, youngest)

            named = [sa.and_(_named(base, name), aged(known)) for name, known in usual.items()]
            whole = Usual.over(usual.values())
            found = tx.execute(
                sa.select(runs.c.id)
                .where(self._mine(account), OPEN_THERE, aged(whole), sa.or_(*named))
                .limit(1)
            )
            return found.first() is not None

        return bool(usual) and await self._database.read(work)

    async def aging(
        self, account: str, base: str, *, before: datetime
    ) -> tuple[Sequence[Aging], datetime | None]:
        """Return what was submitted before that time and is not told of yet, and when the next one was."""

        def work(tx: Tx) -> tuple[Sequence[Aging], datetime | None]:
            untold = sa.and_(self._mine(account), OPEN_THERE, sa.not_(runs.c.overdue))
            found = tx.execute(
                sa.select(runs.c.id, runs.c.job, runs.c.submitted_at, _base(base).label("base")).where(
                    untold, runs.c.submitted_at <= before
                )
            )
            old = [Aging(**row._mapping) for row in found]
            later = sa.select(sa.func.min(runs.c.submitted_at)).where(untold, runs.c.submitted_at > before)
            return old, (tx.execute(later)).scalar()

        return await self._database.read(work)

    async def by_ids(self, ids: Sequence[str]) -> Sequence[Run]:
        """Read runs by our ids, `MOST_ASKED` at most."""

        def work(tx: Tx) -> Sequence[Run]:
            found = tx.execute(sa.select(runs).where(runs.c.id.in_(list(ids))))
            return [to_run(row) for row in found]

        return await self._database.read(work)

    def _mine(self, account: str) -> sa.ColumnElement[bool]:
        return sa.and_(runs.c.project == self._project, runs.c.account == account)


def _base(path: str) -> sa.ColumnElement[Any]:
    return runs.c.spec[tuple(path.split("."))].as_string() if path else sa.literal("")


def _named(path: str, name: str) -> sa.ColumnElement[bool]:
    return sa.func.coalesce(_base(path), "") == name
