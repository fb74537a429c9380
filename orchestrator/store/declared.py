"""The jobs as they were last applied, and the one transaction that applies a plan."""

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from orchestrator.core.changeset import Changeset
from orchestrator.core.job import Job, JsonObject
from orchestrator.core.plan import AppliedJob, RunSummary
from orchestrator.core.run import Run, Status
from orchestrator.store.commit import Routing, cancel_unsent, commit, lock, lock_jobs, notify
from orchestrator.store.database import Database, Tx
from orchestrator.store.rows import (
    KNOWN,
    applied_job_values,
    run_values,
    to_applied_job,
    to_run,
    to_run_summary,
)
from orchestrator.store.tables import STANDING, jobs, runs

State = tuple[Mapping[str, AppliedJob], Sequence[RunSummary]]
Decide = Callable[[Mapping[str, AppliedJob], Sequence[RunSummary], datetime], Changeset]

BATCH = 500
"""Names in one statement; SQLite allows 32,766 parameters, PostgreSQL 65,535."""


class Declared:
    """The recorded jobs of one project."""

    def __init__(self, database: Database, project: str) -> None:
        self._database = database
        self._project = project

    async def state(self, declared: Sequence[Job]) -> State:
        """Read all that a plan of the `declared` jobs compares with."""
        return await self._database.read(lambda tx: self._state(tx, declared))

    def _state(self, tx: Tx, declared: Sequence[Job]) -> State:
        """Read the records, and of the runs those that a plan asks about: however many there have been."""
        found = tx.execute(sa.select(jobs).where(jobs.c.project == self._project).order_by(jobs.c.name))
        records = {row.name: to_applied_job(row) for row in found}
        known = self._current(tx)
        work = {job.name: (job.account, job.fingerprint) for job in declared}
        # A job that asks for other work may have had it before; one that left the files may have had any.
        stand = {run.job: (run.account, run.fingerprint) for run in known}
        moved = [name for name in {**records, **work} if stand.get(name) != work.get(name, stand.get(name))]
        moved += [name for name in records if name not in work and name not in stand]
        known = [run for run in known if run.job not in moved] + self._of_jobs(tx, moved)
        own = {(run.job, run.account, run.fingerprint) for run in known}
        missing = {each for name, each in work.items() if (name, *each) not in own}
        same = self._same_work(tx, missing)
        read = {run.id for run in same}
        return records, [run for run in known if run.id not in read] + same

    def _current(self, tx: Tx) -> list[RunSummary]:
        """Read the run that each recorded job stands by."""
        found = tx.execute(sa.select(*KNOWN).select_from(STANDING).where(jobs.c.project == self._project))
        return [to_run_summary(row) for row in found]

    def _of_jobs(self, tx: Tx, names: Sequence[str]) -> list[RunSummary]:
        known: list[RunSummary] = []
        for start in range(0, len(names), BATCH):
            theirs = runs.c.job.in_(names[start : start + BATCH])
            found = tx.execute(sa.select(*KNOWN).where(runs.c.project == self._project, theirs))
            known += map(to_run_summary, found)
        return known

    def _same_work(self, tx: Tx, work: Collection[tuple[str, str]]) -> list[RunSummary]:
        """Read the runs of any job for this `work` (account and fingerprint), oldest first."""
        known: list[RunSummary] = []
        fingerprints = sorted({fingerprint for _, fingerprint in work})
        for start in range(0, len(fingerprints), BATCH):
            part = runs.c.fingerprint.in_(fingerprints[start : start + BATCH])
            accounts = runs.c.account.in_(sorted({account for account, _ in work}))
            mine = sa.select(*KNOWN).where(runs.c.project == self._project, accounts, part)
            found = tx.execute(mine.order_by(runs.c.created_at, runs.c.id))
            known += map(to_run_summary, found)
        return known

    async def reconcile(self, decide: Decide, declared: Sequence[Job], routing: Routing) -> Changeset:
        """Let `decide` see what concerns the `declared` jobs and write what it says, in one transaction."""

        def work(tx: Tx) -> Changeset:
            lock_jobs(tx, self._project)
            records, known = self._state(tx, declared)
            writes = decide(records, known, tx.now)
            self._write(tx, writes, records, routing)
            return writes

        return await self._database.write(work)

    def _write(self, tx: Tx, writes: Changeset, before: Mapping[str, AppliedJob], routing: Routing) -> None:
        changed = [record for record in writes.records if before.get(record.name) != record]
        if changed:
            tx.execute(self._upsert(tx), [applied_job_values(record, self._project) for record in changed])
        if writes.runs:
            tx.execute(sa.insert(runs), [run_values(run) for run in writes.runs])
        lock(tx, runs.c.id.in_(writes.cancels))
        for run_id in writes.cancels:
            request_cancel(tx, self._project, run_id, "cancel", routing)
        self._managed(tx, [record.name for record in writes.records], True)
        self._managed(tx, writes.unmanaged, False)
        self._forget_unbought(tx)
        if writes.runs or writes.cancels:
            notify(tx, self._project)

    def _managed(self, tx: Tx, names: Sequence[str], managed: bool) -> None:
        for start in range(0, len(names), BATCH):
            tx.execute(
                sa.update(jobs)
                .where(
                    jobs.c.project == self._project,
                    jobs.c.name.in_(names[start : start + BATCH]),
                    jobs.c.managed != managed,
                )
                .values(managed=managed)
            )

    def _forget_unbought(self, tx: Tx) -> None:
        """Let go of what left the files before anything was bought of it: there is nothing to keep."""
        bought = sa.exists().where(runs.c.project == jobs.c.project, runs.c.job == jobs.c.name)
        tx.execute(
            sa.delete(jobs).where(jobs.c.project == self._project, sa.not_(jobs.c.managed), sa.not_(bought))
        )

    def _upsert(self, tx: Tx) -> Any:
        statement = tx.insert(jobs)
        updated = {c.name: statement.excluded[c.name] for c in jobs.c if not c.primary_key}
        return statement.on_conflict_do_update(index_elements=["project", "name"], set_=updated)

    async def specs(self, run_ids: Sequence[str]) -> Mapping[str, JsonObject]:
        """Read what the runs were bought with, by run id."""

        def work(tx: Tx) -> Mapping[str, JsonObject]:
            specs: dict[str, JsonObject] = {}
            for start in range(0, len(run_ids), BATCH):
                part = run_ids[start : start + BATCH]
                for row in tx.execute(sa.select(runs.c.id, runs.c.spec).where(runs.c.id.in_(part))):
                    specs[row.id] = row.spec
            return specs

        return await self._database.read(work)


def request_cancel(tx: Tx, project: str, run_id: str, how: str, routing: Routing) -> Run:
    """Ask for a run's end: at once where nothing was sent, else by the loop that speaks to the provider."""
    row = (tx.execute(sa.select(runs).where(runs.c.id == run_id).with_for_update())).one()
    run = to_run(row)
    if run.status is Status.PENDING:
        # Whoever holds it has not sent it: that begins with a commit, which this one makes fail.
        moved = cancel_unsent(run, tx)
        commit(tx, project, [moved], routing)
        return moved.run
    if not run.status.final:
        tx.execute(
            sa.update(runs).where(runs.c.id == run_id).values(cancel=how, cancel_sent=False, due_at=tx.now)
        )
        notify(tx, project)
    return run
