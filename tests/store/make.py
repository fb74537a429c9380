"""What the tests of the store share: putting runs in, and looking at whole tables."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from core.make import NOW, a_job, a_record, a_route, a_run

from orchestrator.core.changeset import Changeset
from orchestrator.core.job import Job
from orchestrator.core.plan import AppliedJob, Plan
from orchestrator.core.run import Run, Status
from orchestrator.store.commit import Routing
from orchestrator.store.database import Database, Tx
from orchestrator.store.store import Store
from orchestrator.store.tables import runs

ACCOUNT = "cartesia"
HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
EVERYTHING = ("job.submitted", "job.queued", "job.running", "job.succeeded", "job.failed", "job.cancelled")
ROUTING = Routing(
    hooks={
        "team": a_route("team", *EVERYTHING),
        "ops": a_route("ops", "provider.paused", "provider.resumed"),
    },
    account_hooks=("ops",),
)
"""`team` hears of all that becomes of a job that names it, `ops` of the accounts."""


class Clock:
    """A database's clock that moves when told."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now

    def forward(self, time: timedelta) -> None:
        self.now += time


async def put(
    store: Store, *added: Run, records: Sequence[AppliedJob] = (), cancels: Sequence[str] = ()
) -> Changeset:
    """Store runs as they are, and jobs, and ask for the end of others, in one reconcile."""
    plan = Plan(changes=())
    writes = Changeset(plan=plan, records=tuple(records), runs=added, cancels=tuple(cancels))
    return await store.declared.reconcile(lambda *_: writes, [], ROUTING)


async def put_job(store: Store, name: str = "narrator", **changes: Any) -> Run:
    """Store a declared job whose events `team` hears of, with a run, and return the run."""
    job = heard(name)
    run = a_run(job, **changes)
    await put(store, run, records=[a_record(job)])
    return run


def heard(name: str = "narrator", **changes: Any) -> Job:
    return a_job(name, hooks=("team",), **changes)


def many(count: int, **changes: Any) -> list[Run]:
    """Make runs of as many jobs, the oldest first."""
    return [
        a_run(a_job(f"job-{number:03}"), created_at=NOW + timedelta(microseconds=number), **changes)
        for number in range(count)
    ]


async def rows(database: Database, table: sa.Table) -> list[dict[str, Any]]:
    """Return a whole table, in the order of its key."""

    def work(tx: Tx) -> list[dict[str, Any]]:
        found = tx.execute(sa.select(table).order_by(*table.primary_key.columns))
        return [dict(row._mapping) for row in found]

    return await database.read(work)


async def stored(store: Store, run: Run) -> Run:
    """Return `run` as it is in the database."""
    found = await store.work.by_id(run.id)
    assert found is not None
    return found


async def statuses(store: Store) -> list[Status]:
    return [Status(row["status"]) for row in await rows(store.database, runs)]
