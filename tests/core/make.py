"""Jobs, runs and snapshots for tests, with one word for what matters and a default for the rest."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from orchestrator.core.changeset import Changeset, new_run
from orchestrator.core.delivery import Route
from orchestrator.core.job import Job, OnChange, OnRemove, Policy, fingerprint
from orchestrator.core.plan import AppliedJob, RunSummary
from orchestrator.core.run import Run, Snapshot, Status

NOW = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)
PROJECT = "acme"


def a_job(
    name: str = "narrator",
    *,
    account: str = "cartesia",
    value: int = 0,
    hooks: Sequence[str] = (),
    on_change: OnChange = OnChange.ASK,
    on_remove: OnRemove = OnRemove.KEEP,
) -> Job:
    spec = {"language": "en", "epochs": value}
    return Job(
        name=name,
        account=account,
        kind=account,
        spec=spec,
        fingerprint=fingerprint(spec, inputs={}),
        policy=Policy(hooks=tuple(hooks), on_change=on_change, on_remove=on_remove),
    )


def a_record(job: Job, **changes: Any) -> AppliedJob:
    record = AppliedJob(
        name=job.name, account=job.account, kind=job.kind, fingerprint=job.fingerprint, policy=job.policy
    )
    return replace(record, **changes)


def a_run(job: Job | None = None, *, attempt: int = 1, **changes: Any) -> Run:
    job = job or a_job()
    run = new_run(job, PROJECT, attempt, NOW, f"run_{job.name}_{job.account}_{attempt}")
    if changes.get("status", Status.PENDING) in (Status.QUEUED, Status.RUNNING, Status.SUCCEEDED):
        run = replace(run, remote_id=f"ft_{job.name}_{attempt}", submitted_at=NOW)
    return replace(run, **changes)


def known(run: Run) -> RunSummary:
    return RunSummary(
        id=run.id,
        job=run.job,
        account=run.account,
        fingerprint=run.fingerprint,
        attempt=run.attempt,
        status=run.status,
        remote_id=run.remote_id,
        cancelling=run.cancel is not None,
    )


def a_snapshot(
    status: Status | None = Status.RUNNING, word: str = "training", remote_id: str = "ft_narrator_1"
) -> Snapshot:
    return Snapshot(remote_id=remote_id, status=status, provider_status=word)


def a_route(name: str, *events: str, superseded: bool = False) -> Route:
    return Route(name=name, events=events, superseded=superseded) if events else Route(name=name)


class State:
    """What a database would hold after the writes that it is given."""

    def __init__(self) -> None:
        self.records: dict[str, AppliedJob] = {}
        self.runs: dict[str, RunSummary] = {}

    def write(self, writes: Changeset) -> None:
        self.records |= {record.name: record for record in writes.records}
        self.runs |= {run.id: known(run) for run in writes.runs}
        for run_id in writes.cancels:
            run = self.runs[run_id]
            pending = run.status is Status.PENDING
            self.runs[run_id] = (
                replace(run, status=Status.CANCELLED) if pending else replace(run, cancelling=True)
            )
