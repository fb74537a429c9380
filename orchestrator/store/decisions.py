"""What a person decides: cancel, retry, import, adopt, send again, abandon."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

import sqlalchemy as sa

from orchestrator.core.plan import AppliedJob
from orchestrator.core.run import Run, Status
from orchestrator.core.transition import Transition
from orchestrator.errors import UsageError
from orchestrator.store.commit import Routing, commit, lock_jobs, notify
from orchestrator.store.database import Database, Tx
from orchestrator.store.declared import request_cancel
from orchestrator.store.rows import applied_job_values, run_values, to_run
from orchestrator.store.tables import jobs, runs


class Decisions:
    """A person's commands on the runs of one project."""

    def __init__(self, database: Database, project: str) -> None:
        self._database = database
        self._project = project

    async def cancel(self, run: Run, how: str, routing: Routing) -> Run:
        """Ask for the end of `run`; returns it as it stands then."""
        return await self._database.write(lambda tx: request_cancel(tx, self._project, run.id, how, routing))

    async def add(self, run: Run, *, beside: Run) -> None:
        """Store another attempt, unless `beside`, its predecessor, is no longer the latest or has moved."""

        def work(tx: Tx) -> None:
            lock_jobs(tx, self._project)
            self._unmoved(tx, beside)
            taken = sa.select(runs.c.id).where(
                runs.c.project == run.project,
                runs.c.job == run.job,
                runs.c.account == run.account,
                runs.c.fingerprint == run.fingerprint,
                runs.c.attempt >= run.attempt,
            )
            if (tx.execute(taken)).first() is not None:
                raise UsageError(f"{run.job} has a newer attempt by now", hint=f"orchestrator show {run.job}")
            tx.execute(sa.insert(runs), [run_values(run)])
            notify(tx, self._project)

        await self._database.write(work)

    async def move(
        self,
        run: Run,
        step: Callable[[Run, datetime], Transition],
        routing: Routing,
    ) -> Run:
        """Decide about a run that stands as it was shown; raises `UsageError` where it has moved on."""

        def work(tx: Tx) -> Run:
            now = self._unmoved(tx, run)
            transition = step(now, tx.now).released()  # whoever holds it loses it by this
            if transition.run.status is Status.PENDING:
                # To send it is wanted later than its end was.
                transition = replace(transition, run=replace(transition.run, cancel=None))
                tx.execute(sa.update(runs).where(runs.c.id == run.id).values(cancel=None))
            commit(tx, self._project, [transition], routing)
            notify(tx, self._project)
            return transition.run

        return await self._database.write(work)

    async def take_over(self, record: AppliedJob, run: Run) -> None:
        """Let a job stand by a run that is known already, whose own job no job file declares.

        The run takes the job's account and fingerprint: a person said that it is this work.
        """

        def work(tx: Tx) -> None:
            lock_jobs(tx, self._project)
            self._unmoved(tx, run)
            old = tx.execute(
                sa.select(runs.c.id).where(runs.c.project == self._project, runs.c.job == run.job)
            )
            tx.execute(
                sa.update(runs)
                .where(runs.c.id == run.id)
                .values(job=record.name, account=record.account, fingerprint=record.fingerprint)
            )
            if len(old.all()) == 1:
                self._forget(tx, run.job)
            self._declare(tx, record)

        await self._database.write(work)

    async def insert_bound(self, record: AppliedJob, transition: Transition, routing: Routing) -> None:
        """Store a run that the provider has and we did not know, bound to a declared job."""

        def work(tx: Tx) -> None:
            lock_jobs(tx, self._project)
            tx.execute(sa.insert(runs), [run_values(transition.before)])
            self._declare(tx, record)
            commit(tx, self._project, [transition], routing)
            notify(tx, self._project)

        await self._database.write(work)

    def _declare(self, tx: Tx, record: AppliedJob) -> None:
        tx.execute(sa.delete(jobs).where(jobs.c.project == self._project, jobs.c.name == record.name))
        tx.execute(sa.insert(jobs), [applied_job_values(replace(record, held=None), self._project)])

    def _forget(self, tx: Tx, job: str) -> None:
        tx.execute(
            sa.delete(jobs).where(
                jobs.c.project == self._project, jobs.c.name == job, sa.not_(jobs.c.managed)
            )
        )

    def _unmoved(self, tx: Tx, run: Run) -> Run:
        """Lock the row and return it as it is now."""
        row = (tx.execute(sa.select(runs).where(runs.c.id == run.id).with_for_update())).one_or_none()
        now = None if row is None else to_run(row)
        if now is None or (now.epoch, now.sequence, now.status) != (run.epoch, run.sequence, run.status):
            raise UsageError(f"{run.job} has changed since it was shown", hint=f"orchestrator show {run.job}")
        return now
