"""What people ask: jobs with their current run, a job's history, events."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from orchestrator.core.event import Event
from orchestrator.core.plan import AppliedJob
from orchestrator.core.run import FINAL, Reason, Run, Status
from orchestrator.store.database import Database, Tx
from orchestrator.store.rows import to_applied_job, to_event, to_run
from orchestrator.store.tables import STANDING, accounts, events, jobs, runs

LATEST = 200
"""Runs from whose length the usual one is taken."""


@dataclass(frozen=True, kw_only=True, slots=True)
class JobState:
    """A recorded job and the run that it stands by; `managed` is false once it left the files."""

    record: AppliedJob
    run: Run | None
    managed: bool


class Views:
    """Reads that decide nothing."""

    def __init__(self, database: Database, project: str) -> None:
        self._database = database
        self._project = project

    async def standings(self, names: Sequence[str] | None = None) -> Sequence[JobState]:
        """Return the recorded jobs by name, all or those of `names`."""

        def work(tx: Tx) -> Sequence[JobState]:
            where = [jobs.c.project == self._project]
            if names is not None:
                where.append(jobs.c.name.in_(list(names)))
            found = (tx.execute(sa.select(jobs).where(*where).order_by(jobs.c.name))).all()
            latest = self._latest(tx, names)
            return [
                JobState(
                    record=to_applied_job(row),
                    run=latest.get((row.name, row.account, row.fingerprint)),
                    managed=row.managed,
                )
                for row in found
            ]

        return await self._database.read(work)

    def _latest(self, tx: Tx, names: Sequence[str] | None) -> dict[tuple[str, str, str], Run]:
        where = [jobs.c.project == self._project]
        if names is not None:
            where.append(jobs.c.name.in_(list(names)))
        found = tx.execute(sa.select(runs).select_from(STANDING).where(*where))
        return {(run.job, run.account, run.fingerprint): run for run in map(to_run, found)}

    async def moving(self) -> Mapping[str, int]:
        """Count by account the runs that neither are final nor wait for a decision about a lost answer."""

        def work(tx: Tx) -> Mapping[str, int]:
            stuck = sa.and_(
                runs.c.status == Status.IN_DOUBT,
                sa.func.coalesce(runs.c.reason, "").in_((Reason.PARKED, Reason.CONFLICT)),
            )
            found = tx.execute(
                sa.select(runs.c.account, sa.func.count().label("number"))
                .where(runs.c.project == self._project, runs.c.status.not_in(FINAL), sa.not_(stuck))
                .group_by(runs.c.account)
            )
            return {row.account: row.number for row in found}

        return await self._database.read(work)

    async def counts(self) -> Mapping[tuple[str, ...], int]:
        """Count the runs by account and status."""

        def work(tx: Tx) -> Mapping[tuple[str, ...], int]:
            found = tx.execute(
                sa.select(runs.c.account, runs.c.status, sa.func.count().label("number"))
                .where(runs.c.project == self._project)
                .group_by(runs.c.account, runs.c.status)
            )
            return {(row.account, row.status): row.number for row in found}

        return await self._database.read(work)

    async def usual(self) -> Mapping[str, timedelta]:
        """Return how long a run takes at each account: the median of the latest that succeeded."""

        latest = (
            sa.select(runs.c.submitted_at, runs.c.finished_at)
            .where(
                runs.c.project == self._project,
                runs.c.account == sa.bindparam("account"),
                runs.c.finished_at.is_not(None),
                runs.c.status == Status.SUCCEEDED,
                runs.c.submitted_at.is_not(None),
            )
            .order_by(runs.c.finished_at.desc())
            .limit(LATEST)
        )

        def work(tx: Tx) -> Mapping[str, timedelta]:
            usual: dict[str, timedelta] = {}
            for name in tx.execute(sa.select(accounts.c.name).where(accounts.c.project == self._project)):
                found = tx.execute(latest, {"account": name.name})
                lengths = sorted(row.finished_at - row.submitted_at for row in found)
                if lengths:
                    usual[name.name] = lengths[len(lengths) // 2]
            return usual

        return await self._database.read(work)

    async def history(self, job: str) -> Sequence[Run]:
        """Return every run of `job`, oldest first."""

        def work(tx: Tx) -> Sequence[Run]:
            found = tx.execute(
                sa.select(runs)
                .where(runs.c.project == self._project, runs.c.job == job)
                .order_by(runs.c.created_at, runs.c.attempt)
            )
            return [to_run(row) for row in found]

        return await self._database.read(work)

    async def events(
        self, *, job: str | None = None, after: int | None = None, most: int = 1000
    ) -> Sequence[Event]:
        """Return events oldest first: those after an id, else the latest `most`."""

        def work(tx: Tx) -> Sequence[Event]:
            where: list[Any] = [events.c.project == self._project]
            if job is not None:
                # A run that it took over has told under the name that it had then.
                theirs = sa.select(runs.c.id).where(runs.c.project == self._project, runs.c.job == job)
                where.append(sa.or_(events.c.job == job, events.c.run_id.in_(theirs)))
            statement = sa.select(events).where(*where)
            if after is not None:
                found = tx.execute(statement.where(events.c.id > after).order_by(events.c.id).limit(most))
                return [to_event(row) for row in found]
            found = tx.execute(statement.order_by(events.c.id.desc()).limit(most))
            return [to_event(row) for row in found][::-1]

        return await self._database.read(work)

    async def unclaimed(self) -> Sequence[Run]:
        """Return the runs whose job no job file declares, as far as an import may take them over."""

        def work(tx: Tx) -> Sequence[Run]:
            found = tx.execute(
                sa.select(runs)
                .join(jobs, sa.and_(jobs.c.project == runs.c.project, jobs.c.name == runs.c.job))
                .where(runs.c.project == self._project, sa.not_(jobs.c.managed))
            )
            return [to_run(row) for row in found]

        return await self._database.read(work)
