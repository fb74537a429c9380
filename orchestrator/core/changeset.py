"""From a plan to the changes that one transaction stores, and which of them need a person."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from orchestrator.core.job import Job, OnChange, marker
from orchestrator.core.plan import Action, AppliedJob, Change, Plan, RunSummary
from orchestrator.core.run import OPEN, Run, Status

BUYS = (Action.CREATE, Action.REPLACE)
ATTEMPTS = 20
"""How many attempts of one work are looked for by their markers after the database was lost."""


MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Changeset:
    """What one transaction stores; `unmanaged` names the recorded jobs that no job file declares."""

    plan: Plan
    records: tuple[AppliedJob, ...] = ()
    runs: tuple[Run, ...] = ()
    cancels: tuple[str, ...] = ()
    unmanaged: tuple[str, ...] = ()


def make_changeset(
    plan: Plan,
    known: Sequence[RunSummary],
    *,
    project: str,
    now: datetime,
    make_id: Callable[[], str],
    steps: Mapping[str, Sequence[str]],
    held: Mapping[str, str] | None = None,
) -> Changeset:
    """Turn `plan` into a changeset; a job in `held` keeps its run, and the reason is recorded.

    `steps` names the calls after create for each provider kind.
    """
    held = held or {}
    attempts = _attempts(known)
    records: list[AppliedJob] = []
    runs: list[Run] = []
    cancels: list[str] = []
    for change in plan.changes:
        job = change.declared
        if change.action is Action.CANCEL and change.run is not None:
            cancels.append(change.run.id)
        if job is None:
            continue
        if change.job in held:
            records.append(_held(change, job, held[change.job]))
        elif change.action in BUYS:
            previous = change.run if change.action is Action.REPLACE else None
            after = _cleared(job, previous, cancels)
            attempt = attempts.get((job.name, job.account, job.fingerprint), 0) + 1
            run = new_run(job, project, attempt, now, make_id(), steps.get(job.kind, ()), after=after)
            # Sending goes by this time: in the order of the files, among what is written at once.
            runs.append(replace(run, created_at=now + len(runs) * MICROSECOND))
            records.append(_record(job))
        elif not change.notice:
            records.append(_record(job))
    gone = tuple(change.job for change in plan.changes if change.declared is None)
    return Changeset(
        plan=plan, records=tuple(records), runs=tuple(runs), cancels=tuple(cancels), unmanaged=gone
    )


def new_run(
    job: Job,
    project: str,
    attempt: int,
    now: datetime,
    run_id: str,
    steps: Iterable[str] = (),
    *,
    after: str | None = None,
) -> Run:
    """Make a run that is not sent yet, with the marker that it will carry."""
    return Run(
        id=run_id,
        project=project,
        job=job.name,
        account=job.account,
        kind=job.kind,
        fingerprint=job.fingerprint,
        attempt=attempt,
        marker=marker(project, job.account, job.name, job.fingerprint, attempt),
        spec=job.spec,
        inputs=job.inputs,
        steps=dict.fromkeys(steps, "todo"),
        after=after,
        created_at=now,
        updated_at=now,
        due_at=now,
    )


def buying(plan: Plan) -> Sequence[Change]:
    """Return the changes of `plan` that start a paid run."""
    return tuple(change for change in plan.changes if change.action in BUYS)


def hold(plan: Plan, *, limit: int, apply_new: bool = True) -> Mapping[str, str]:
    """Say which changes of `plan` the daemon leaves to a person, by job, and why.

    A replacement is bought only where the job's `on_change` says so, nothing at all where more than
    `limit` runs would start at once, and no new work where `apply_new` is false.
    """
    held = {
        change.job: "its spec changed; review it with `orchestrator apply`"
        for change in plan.changes
        if change.action is Action.REPLACE
        and change.declared
        and change.declared.policy.on_change is OnChange.ASK
    }
    starting = [change for change in buying(plan) if change.job not in held]
    if not apply_new:
        held |= {change.job: "new work waits for `orchestrator apply`" for change in starting}
    elif len(starting) > limit:
        why = (
            f"{len(starting)} new runs at once, but max_new_runs is {limit}; `orchestrator apply` starts them"
        )
        held |= {change.job: why for change in starting}
    return held


def _attempts(known: Iterable[RunSummary]) -> Mapping[tuple[str, str, str], int]:
    highest: dict[tuple[str, str, str], int] = {}
    for run in known:
        key = (run.job, run.account, run.fingerprint)
        highest[key] = max(run.attempt, highest.get(key, 0))
    return highest


def _cleared(job: Job, previous: RunSummary | None, cancels: list[str]) -> str | None:
    """Cancel the replaced run if that is free or asked for; return the run that the new one waits for."""
    if previous is None or previous.status.final:
        return None
    if previous.status is Status.PENDING:
        cancels.append(previous.id)
        return None
    if job.policy.on_change is OnChange.CANCEL_THEN_REPLACE and previous.status in OPEN:
        cancels.append(previous.id)
        return previous.id
    return None


def _record(job: Job) -> AppliedJob:
    return AppliedJob(
        name=job.name, account=job.account, kind=job.kind, fingerprint=job.fingerprint, policy=job.policy
    )


def _held(change: Change, job: Job, why: str) -> AppliedJob:
    record = _record(job)
    if change.run is not None:  # what is recorded stays what the run was bought for
        record = replace(record, account=change.run.account, fingerprint=change.run.fingerprint)
    return replace(record, held=why)
