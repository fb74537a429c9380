"""What would change, and why: declared jobs against what is recorded, as a pure function."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from orchestrator.core.job import Job, OnChange, OnRemove, Policy
from orchestrator.core.run import OPEN, Status


class Action(StrEnum):
    """What a change does."""

    CREATE = "create"
    REPLACE = "replace"
    CANCEL = "cancel"
    UPDATE = "update"
    NONE = "none"


@dataclass(frozen=True, kw_only=True, slots=True)
class AppliedJob:
    """A job as it was last applied."""

    name: str
    account: str
    kind: str
    fingerprint: str
    policy: Policy
    held: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class RunSummary:
    """The part of a run that a plan needs."""

    id: str
    job: str
    account: str
    fingerprint: str
    attempt: int
    status: Status
    remote_id: str | None = None
    cancelling: bool = False

    @property
    def given_up(self) -> bool:
        """Say whether it has ended with nothing to show, so that another attempt may follow it."""
        return self.status.final and self.status is not Status.SUCCEEDED


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """What happens to one job; `run` is the run concerned, if any."""

    action: Action
    job: str
    account: str
    reason: str
    run: RunSummary | None = None
    declared: Job | None = None
    diff: tuple[Mapping[str, Any], ...] = ()
    notice: bool = False
    """Nothing is done, but a person should read the reason."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """Every job's change, in the order of the files, then what left them."""

    changes: tuple[Change, ...]
    warnings: tuple[str, ...] = ()
    summary: Mapping[str, int] = field(init=False)

    def __post_init__(self) -> None:
        counts = {action.value: 0 for action in Action if action is not Action.NONE}
        for change in self.changes:
            if change.action is not Action.NONE:
                counts[change.action] += 1
        object.__setattr__(self, "summary", counts)

    @property
    def empty(self) -> bool:
        """Say whether applying it would do nothing."""
        return not any(self.summary.values())


def plan(
    jobs: Sequence[Job],
    records: Mapping[str, AppliedJob],
    runs: Iterable[RunSummary],
    *,
    again: bool = False,
) -> Plan:
    """Compare the declared `jobs` with the `records` and `runs` of the database.

    `again` buys work that a run no job claims has already been bought for, whatever became of it.
    """
    declared = {job.name for job in jobs}
    history: dict[str, list[RunSummary]] = {}
    unclaimed: dict[tuple[str, str], RunSummary] = {}
    for run in runs:
        history.setdefault(run.job, []).append(run)
        work = (run.account, run.fingerprint)
        if run.job not in declared and _worth(run) >= _worth(unclaimed.get(work)):
            unclaimed[work] = run
    changes = [
        _change(job, records.get(job.name), history.get(job.name, ()), {} if again else unclaimed)
        for job in jobs
    ]
    wanted = {change.run.id for change in changes if change.notice and change.run}
    changes += _removed(records, declared, history, wanted)
    return Plan(changes=tuple(changes))


def _worth(run: RunSummary | None) -> int:
    """Rank what a job could stand by instead of buying: first a success, then a run that is open."""
    if run is None:
        return 0
    return 1 if run.given_up else 3 if run.status is Status.SUCCEEDED else 2


def current(job: Job | AppliedJob, runs: Iterable[RunSummary]) -> RunSummary | None:
    """Return the latest attempt at exactly the work that `job` asks for."""
    same = [run for run in runs if (run.account, run.fingerprint) == (job.account, job.fingerprint)]
    return max(same, key=lambda run: run.attempt, default=None)


def _change(
    job: Job,
    record: AppliedJob | None,
    runs: Sequence[RunSummary],
    unclaimed: Mapping[tuple[str, str], RunSummary],
) -> Change:
    run = current(job, runs)
    if run is not None:
        return _same_work(job, record, run)
    same = unclaimed.get((job.account, job.fingerprint))
    if same is not None:
        return _claimable(job, same)
    before = current(record, runs) if record else None
    if record is None or before is None:
        return Change(action=Action.CREATE, job=job.name, account=job.account, reason="new job", declared=job)
    return _edited(job, record, before)


def _same_work(job: Job, record: AppliedJob | None, run: RunSummary) -> Change:
    action, reason = Action.NONE, _rest(run)
    if record is None:
        action, reason = Action.UPDATE, f"declared again; it already has a run ({run.status})"
    elif (record.account, record.fingerprint) != (job.account, job.fingerprint):
        action, reason = (
            Action.UPDATE,
            f"back to a spec that was already bought ({run.status}); nothing is bought",
        )
    elif record.policy != job.policy:
        action, reason = Action.UPDATE, f"{_policies(record.policy, job.policy)} changed"
    return Change(action=action, job=job.name, account=job.account, reason=reason, run=run, declared=job)


def _rest(run: RunSummary) -> str:
    match run.status:
        case Status.FAILED | Status.CANCELLED | Status.LOST:
            return f"{run.status}; `orchestrator retry {run.job}` buys another attempt"
        case Status.IN_DOUBT:
            return "in doubt; it is never sent again automatically"
        case _:
            return str(run.status)


def _policies(before: Policy, after: Policy) -> str:
    names = ("hooks", "on_change", "on_remove", "overdue_after")
    return ", ".join(name for name in names if getattr(before, name) != getattr(after, name))


def _claimable(job: Job, same: RunSummary) -> Change:
    where = same.remote_id or same.id
    retry = f"`orchestrator retry {job.name}` then buys another attempt, " if same.given_up else ""
    reason = (
        f'the same work as {where} of "{same.job}", which no job file declares ({same.status}): '
        f"`orchestrator import {job.name} {where}` takes it over, {retry}`apply --again` buys it again"
    )
    return Change(
        action=Action.NONE,
        job=job.name,
        account=job.account,
        reason=reason,
        run=same,
        declared=job,
        notice=True,
    )


def _edited(job: Job, record: AppliedJob, before: RunSummary) -> Change:
    what = (
        "spec changed" if record.account == job.account else f"moved from {record.account} to {job.account}"
    )
    action, notice = Action.REPLACE, False
    match job.policy.on_change:
        case OnChange.REFUSE:
            action, notice, end = Action.NONE, True, '; refused by on_change = "refuse"'
        case OnChange.CANCEL_THEN_REPLACE if before.status in OPEN:
            end = f"; the {before.status} run is cancelled first"
        case _:
            end = f"; the {before.status} run continues" if before.status in OPEN else ""
    return Change(
        action=action,
        job=job.name,
        account=job.account,
        reason=what + end,
        run=before,
        declared=job,
        notice=notice,
    )


def _removed(
    records: Mapping[str, AppliedJob],
    declared: set[str],
    history: Mapping[str, Sequence[RunSummary]],
    wanted: set[str],
) -> Iterator[Change]:
    for record in records.values():
        if record.name in declared:
            continue
        run = current(record, history.get(record.name, ()))
        status = run.status if run else None
        cancel = record.policy.on_remove is OnRemove.CANCEL and run is not None and not run.status.final
        bought = record.name in history
        if not bought:
            action, reason = Action.NONE, "removed from the files before anything was bought"
        elif cancel and run is not None and run.id in wanted:
            action, reason = (
                Action.NONE,
                "removed from the files; kept, since a declared job asks for the same work",
            )
        elif cancel and run is not None and not run.cancelling:
            action, reason = Action.CANCEL, 'removed from the files, on_remove = "cancel"'
        else:
            action = Action.NONE
            reason = "removed from the files; kept, unmanaged" + (f" ({status})" if status else "")
        yield Change(
            action=action, job=record.name, account=record.account, reason=reason, run=run, notice=bought
        )


def diff(before: object, after: object, path: str = "") -> Iterator[Mapping[str, Any]]:
    """List every path of a spec whose value differs, absent values as None."""
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for key in sorted({*before, *after}):
            inner = f"{path}.{key}" if path else str(key)
            yield from diff(before.get(key), after.get(key), inner)
    elif before != after:
        yield {"path": path, "before": before, "after": after}
