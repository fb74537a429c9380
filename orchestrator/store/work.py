"""The runs as work: claimed under a lease, moved by guarded commits, released when done."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from orchestrator.core.run import FINAL, Reason, Run, Status
from orchestrator.core.transition import Transition
from orchestrator.errors import LeaseLost
from orchestrator.store.claim import LEASE, Claim, awake
from orchestrator.store.commit import Routing, commit
from orchestrator.store.database import Database, Tx
from orchestrator.store.lease import Leases
from orchestrator.store.rows import run_values, to_run
from orchestrator.store.starts import Starts
from orchestrator.store.tables import WANTED, runs


class Work:
    """The runs of one project."""

    def __init__(self, database: Database, project: str, leases: Leases) -> None:
        self._database = database
        self._project = project
        self._leases = leases

    async def commit(self, transitions: Sequence[Transition], routing: Routing) -> None:
        """Write `transitions`; raises `LeaseLost` where one is no longer ours to move."""

        def work(tx: Tx) -> None:
            # Where it had a holder when it was read, that one may have renewed its claim since.
            ours = (None, self._leases.owner)
            held = [one.before.id for one in transitions if one.before.owner not in ours]
            if held and self._claimed(tx, held):
                raise LeaseLost("another worker is working on the run")
            commit(tx, self._project, transitions, routing)

        await self._database.write(work)

    def _claimed(self, tx: Tx, ids: Sequence[str]) -> bool:
        theirs = runs.c.id.in_(ids), runs.c.owner.is_not(None), runs.c.lease_until >= tx.now
        return (tx.execute(sa.select(runs.c.id).where(*theirs).limit(1))).first() is not None

    async def insert(self, transition: Transition, routing: Routing) -> None:
        """Store a run that was not known here, with what is known of it by now."""

        def work(tx: Tx) -> None:
            tx.execute(sa.insert(runs), [run_values(transition.before)])
            commit(tx, self._project, [transition], routing)

        await self._database.write(work)

    async def move(self, run: Run, step: Callable[[Run, datetime], Transition], routing: Routing) -> Run:
        """Commit what `step` makes of `run` at the database's own time, and return it.

        Where `step` does not give the claim back, that is renewed.
        """
        claim, begun = claim_on(run), awake()

        def work(tx: Tx) -> Run:
            transition = step(run, tx.now)
            if transition.run.owner == self._leases.owner:
                renewed = replace(transition.run, lease_until=tx.now + LEASE)
                transition = replace(transition, run=renewed)
            commit(tx, self._project, [transition], routing)
            return transition.run

        try:
            moved = await self._database.write(work)
        except LeaseLost:
            self._leases.owe(claim)
            raise
        if moved.owner is None:
            self._leases.drop(claim)
        else:
            self._leases.renewed(claim, begun)
        return moved

    async def claim_sends(self, account: str, *, most: int, max_running: int | None) -> Sequence[Run]:
        """Claim pending runs that may be sent now, oldest first, within the account's `max_running`.

        The runs beyond it are left with the reason `limit`.
        """

        def work(tx: Tx, taken: list[Claim]) -> Sequence[Run]:
            starts = Starts(tx, self._project, account, self._free(tx))
            ids = starts.choose(most=most, max_running=max_running)
            return [to_run(row) for row in self._leases.take(tx, runs, ids, taken)] if ids else []

        return await self._leases.claim(work)

    async def claim_looks(self, account: str, *, most: int) -> Sequence[Run]:
        """Claim runs whose answer is unknown and that are due for a look."""

        def work(tx: Tx, taken: list[Claim]) -> Sequence[Run]:
            left = sa.and_(runs.c.status == Status.SUBMITTING, self._free(tx))
            looking = sa.and_(
                runs.c.status == Status.IN_DOUBT,
                runs.c.reason.in_((Reason.LOOKING, Reason.PARKED)),
                self._free(tx),
                self._due(tx),
            )
            return self._claim(tx, [self._mine(account), sa.or_(left, looking)], most, taken)

        return await self._leases.claim(work)

    async def claim_calls(self, account: str, *, most: int) -> Sequence[Run]:
        """Claim bound runs that a call brings forward: a step that is left, or a cancellation."""

        def work(tx: Tx, taken: list[Claim]) -> Sequence[Run]:
            where = [self._mine(account), WANTED, to_call(), self._free(tx), self._due(tx)]
            return self._claim(tx, where, most, taken)

        return await self._leases.claim(work)

    def _claim(self, tx: Tx, where: Sequence[Any], most: int, taken: list[Claim]) -> Sequence[Run]:
        # The rows are locked first and updated by id: one statement may claim more than its LIMIT.
        chosen = tx.execute(
            sa.select(runs.c.id)
            .where(*where)
            .order_by(runs.c.created_at, runs.c.id)
            .limit(most)
            .with_for_update(skip_locked=True)
        )
        ids = [row.id for row in chosen]
        return [to_run(row) for row in self._leases.take(tx, runs, ids, taken)] if ids else []

    async def release(self, claimed: Sequence[Run]) -> None:
        """Give back what was claimed and is still held; raises nothing where the database is away."""
        await self._leases.release(map(claim_on, claimed))

    async def bound(self, account: str, remote_ids: Sequence[str]) -> Mapping[str, Run]:
        """Return the runs of `account` that have these ids, whatever their status."""

        def work(tx: Tx) -> Mapping[str, Run]:
            if not remote_ids:
                return {}
            found = tx.execute(
                sa.select(runs).where(self._mine(account), runs.c.remote_id.in_(list(remote_ids)))
            )
            return {run.remote_id: run for run in map(to_run, found) if run.remote_id}

        return await self._database.read(work)

    async def by_id(self, run_id: str) -> Run | None:
        """Read one run."""

        def work(tx: Tx) -> Run | None:
            row = (tx.execute(sa.select(runs).where(runs.c.id == run_id))).one_or_none()
            return None if row is None else to_run(row)

        return await self._database.read(work)

    async def markers(self, markers: Sequence[str]) -> Mapping[str, Run]:
        """Return the runs that carry these markers."""

        def work(tx: Tx) -> Mapping[str, Run]:
            found = tx.execute(
                sa.select(runs).where(runs.c.project == self._project, runs.c.marker.in_(list(markers)))
            )
            return {run.marker: run for run in map(to_run, found)}

        return await self._database.read(work) if markers else {}

    async def open_runs(self) -> Sequence[Run]:
        """Return every run that is not final, oldest first."""

        def work(tx: Tx) -> Sequence[Run]:
            found = tx.execute(
                sa.select(runs)
                .where(runs.c.project == self._project, runs.c.status.not_in(FINAL))
                .order_by(runs.c.created_at)
            )
            return [to_run(row) for row in found]

        return await self._database.read(work)

    def _mine(self, account: str) -> sa.ColumnElement[bool]:
        return sa.and_(runs.c.project == self._project, runs.c.account == account)

    def _free(self, tx: Tx) -> sa.ColumnElement[bool]:
        return self._leases.free(runs, tx)

    def _due(self, tx: Tx) -> sa.ColumnElement[bool]:
        return sa.or_(runs.c.due_at.is_(None), runs.c.due_at <= tx.now)


def claim_on(run: Run) -> Claim:
    """Name the claim that `run` was read with."""
    return Claim("runs", run.id, run.epoch)


def to_call() -> sa.ColumnElement[bool]:
    """Say in SQL for which runs `next_call` names a cancellation or a step."""
    asked = sa.and_(runs.c.cancel.is_not(None), sa.not_(runs.c.cancel_sent))
    return sa.and_(runs.c.status.in_((Status.QUEUED, Status.RUNNING)), sa.or_(asked, runs.c.unfinished))
