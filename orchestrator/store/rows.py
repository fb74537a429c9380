"""Records to rows and back."""

from collections.abc import Mapping
from dataclasses import asdict, fields
from datetime import timedelta
from typing import Any, Final

import sqlalchemy as sa

from orchestrator.core.delivery import Delivery, DeliveryState
from orchestrator.core.event import Event, EventType
from orchestrator.core.job import Input, OnChange, OnRemove, Policy
from orchestrator.core.plan import AppliedJob, RunSummary
from orchestrator.core.receiver import HookHealth
from orchestrator.core.run import Reason, Run, Status
from orchestrator.store.tables import runs

PENDING: Final = sa.literal(DeliveryState.PENDING.value, literal_execute=True)
"""Written into the SQL, so that the partial indexes over what is pending can serve it."""

RUN_FIELDS = tuple(field.name for field in fields(Run))

IDENTITY = frozenset(
    {"id", "project", "account", "kind", "fingerprint", "attempt", "marker", "spec", "inputs", "created_at"}
)
COMMITTED = (
    *(name for name in RUN_FIELDS if name not in IDENTITY | {"cancel", "job", "epoch"}),
    "unfinished",
)
"""What a transition may write: never the identity, nor what only a person's command writes."""


def run_values(run: Run) -> dict[str, Any]:
    """Return every column of `run`."""
    values = {name: getattr(run, name) for name in RUN_FIELDS}
    return values | {
        "inputs": {key: asdict(value) for key, value in run.inputs.items()},
        "spec": dict(run.spec),
        "steps": dict(run.steps),
        "unfinished": run.unfinished is not None,
        "result": None if run.result is None else dict(run.result),
    }


def to_run(row: sa.Row[Any]) -> Run:
    """Read a whole row of `runs`."""
    values = dict(row._mapping)
    del values["unfinished"], values["request"]
    values["status"] = Status(values["status"])
    values["reason"] = Reason(values["reason"]) if values["reason"] else None
    values["inputs"] = {key: Input(**value) for key, value in values["inputs"].items()}
    return Run(**values)


KNOWN: Final = tuple(
    runs.c[name]
    for name in ("id", "job", "account", "fingerprint", "attempt", "status", "remote_id", "cancel")
)
"""The columns of a run that a plan needs."""


def to_run_summary(row: sa.Row[Any]) -> RunSummary:
    """Read the columns of `runs` that a plan needs."""
    return RunSummary(
        id=row.id,
        job=row.job,
        account=row.account,
        fingerprint=row.fingerprint,
        attempt=row.attempt,
        status=Status(row.status),
        remote_id=row.remote_id,
        cancelling=row.cancel is not None,
    )


def applied_job_values(record: AppliedJob, project: str) -> dict[str, Any]:
    """Return every column of a declared job."""
    policy = record.policy
    overdue = policy.overdue_after
    return {
        "project": project,
        "name": record.name,
        "account": record.account,
        "kind": record.kind,
        "fingerprint": record.fingerprint,
        "held": record.held,
        "managed": True,
        "policy": {
            "hooks": list(policy.hooks),
            "on_change": policy.on_change,
            "on_remove": policy.on_remove,
            "overdue_after": None if overdue is None else overdue.total_seconds(),
        },
    }


def to_applied_job(row: sa.Row[Any]) -> AppliedJob:
    """Read a row of `jobs`."""
    return AppliedJob(
        name=row.name,
        account=row.account,
        kind=row.kind,
        fingerprint=row.fingerprint,
        policy=to_policy(row.policy),
        held=row.held,
    )


def to_policy(values: Mapping[str, Any]) -> Policy:
    """Read a policy; a key that an older release did not write has its default."""
    overdue = values.get("overdue_after")
    return Policy(
        hooks=tuple(values.get("hooks", ())),
        on_change=OnChange(values.get("on_change", OnChange.ASK)),
        on_remove=OnRemove(values.get("on_remove", OnRemove.KEEP)),
        overdue_after=None if overdue is None else timedelta(seconds=overdue),
    )


def event_values(event: Event) -> dict[str, Any]:
    """Return every column of an event but its id."""
    return {field.name: getattr(event, field.name) for field in fields(Event) if field.name != "id"}


def to_event(row: sa.Row[Any]) -> Event:
    """Read a whole row of `events`."""
    return Event(**{**row._mapping, "type": EventType(row.type)})


def delivery_values(delivery: Delivery) -> dict[str, Any]:
    """Return every column of a delivery."""
    return {field.name: getattr(delivery, field.name) for field in fields(Delivery)}


def to_delivery(row: sa.Row[Any]) -> Delivery:
    """Read a whole row of `deliveries`."""
    values = dict(row._mapping)
    values["state"] = DeliveryState(values["state"])
    values["event"] = EventType(values["event"])
    return Delivery(**values)


def hook_health_values(health: HookHealth) -> dict[str, Any]:
    """Return every column of a hook but its project."""
    return {field.name: getattr(health, field.name) for field in fields(HookHealth)}


def to_hook_health(row: sa.Row[Any]) -> HookHealth:
    """Read the columns of a row of `hooks`."""
    return HookHealth(**{field.name: row._mapping[field.name] for field in fields(HookHealth)})
