"""The one way a run moves: run, events and deliveries in one transaction, guarded by epoch and sequence."""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import sqlalchemy as sa

from orchestrator.core.delivery import Delivery, Route, fan_out, routes_of
from orchestrator.core.event import Event
from orchestrator.core.run import Run, Status
from orchestrator.core.transition import Transition, finish
from orchestrator.errors import LeaseLost
from orchestrator.store.database import Tx
from orchestrator.store.rows import COMMITTED, delivery_values, event_values, run_values, to_policy, to_run
from orchestrator.store.tables import UTCDateTime, deliveries, events, jobs, runs

CHANNEL: Final = "orchestrator"
"""The channel on which PostgreSQL tells of commits; the payload is the project."""

_UNTIL = sa.bindparam("v_lease_until", type_=UTCDateTime)
_CANCEL_SENT = sa.case(
    (
        sa.and_(
            sa.bindparam("b_sent", type_=sa.Boolean),
            sa.func.coalesce(runs.c.cancel, "") == sa.bindparam("b_cancel", type_=sa.Text),
        ),
        sa.bindparam("v_cancel_sent", type_=sa.Boolean),
    ),
    else_=runs.c.cancel_sent,
)
"""Only what was asked for when the run was read can have been sent: a person may ask for more meanwhile."""
_LEASE = sa.case((runs.c.lease_until > _UNTIL, runs.c.lease_until), else_=_UNTIL)
"""A commit gives a claim back or makes it longer: it may have been renewed since the run was read."""


@dataclass(frozen=True, slots=True)
class Routing:
    """Whom events go to: the hooks by name, and those that hear of an account's events."""

    hooks: Mapping[str, Route] = field(default_factory=dict)
    account_hooks: tuple[str, ...] = ()


def make_id(prefix: str) -> str:
    """Make an id that sorts by nothing and tells nothing."""
    return f"{prefix}_{secrets.token_hex(12)}"


def commit(tx: Tx, project: str, transitions: Sequence[Transition], routing: Routing) -> None:
    """Write `transitions` with their events, deliveries and the attempts that follow.

    Raises `LeaseLost`, and writes none, where a row is no longer as it was when it was read.
    """
    if not transitions:
        return
    statement = (
        sa.update(runs)
        .where(
            runs.c.id == sa.bindparam("b_id"),
            runs.c.epoch == sa.bindparam("b_epoch"),
            runs.c.sequence == sa.bindparam("b_sequence"),
            runs.c.status == sa.bindparam("b_status"),
        )
        .values(
            {name: sa.bindparam(f"v_{name}") for name in COMMITTED}
            | {"lease_until": _LEASE, "cancel_sent": _CANCEL_SENT}
        )
    )
    # In the order of their ids, as all do that lock several: two commits never wait for each other.
    rows = sorted(map(_parameters, transitions), key=lambda row: str(row["b_id"]))
    result = tx.execute(statement, rows)
    if result.rowcount != len(rows):
        raise LeaseLost("another worker has taken over the run")
    _keep_requests(tx, transitions)
    told = [(event, transition.run) for transition in transitions for event in transition.events]
    following = [run_values(one.then) for one in transitions if one.then is not None]
    if following:
        tx.execute(sa.insert(runs), following)
    tell(tx, project, told, routing)
    _end_unsent(tx, project, transitions, routing)


def _keep_requests(tx: Tx, transitions: Sequence[Transition]) -> None:
    """Write down what is about to be sent, in the commit of the intent."""
    sent = [
        {"b_id": each.run.id, "v_request": each.request} for each in transitions if each.request is not None
    ]
    if sent:
        statement = sa.update(runs).where(runs.c.id == sa.bindparam("b_id"))
        tx.execute(statement.values(request=sa.bindparam("v_request")), sent)


def _end_unsent(tx: Tx, project: str, transitions: Sequence[Transition], routing: Routing) -> None:
    """Cancel what came back to pending after a person asked for its end: it would be bought otherwise."""
    pending = [transition.run.id for transition in transitions if transition.run.status is Status.PENDING]
    if not pending:
        return
    asked = tx.execute(sa.select(runs).where(runs.c.id.in_(pending), runs.c.cancel.is_not(None)))
    commit(tx, project, [cancel_unsent(to_run(row), tx) for row in asked], routing)


def cancel_unsent(run: Run, tx: Tx) -> Transition:
    """End a run of which the provider has nothing; whoever holds it loses it by this."""
    message = "cancelled before it was sent"
    return finish(run, tx.now, status=Status.CANCELLED, message=message).released()


def lock(tx: Tx, *where: sa.ColumnElement[bool]) -> None:
    """Lock the rows of `runs` that are about to be written together, in the order of their ids."""
    if tx.connection.dialect.name == "postgresql":
        tx.execute(sa.select(runs.c.id).where(*where).order_by(runs.c.id).with_for_update())


def lock_jobs(tx: Tx, project: str) -> None:
    """Let nobody else decide about the jobs of `project` until this transaction ends."""
    if tx.connection.dialect.name == "postgresql":
        tx.execute(sa.select(sa.func.pg_advisory_xact_lock(sa.func.hashtext(f"jobs {project}"))))


def _parameters(transition: Transition) -> dict[str, Any]:
    before = transition.before
    values = run_values(transition.run)
    return {f"v_{name}": values[name] for name in COMMITTED} | {
        "b_id": before.id,
        "b_epoch": before.epoch,
        "b_sequence": before.sequence,
        "b_status": before.status,
        "b_cancel": before.cancel or "",
        "b_sent": before.cancel_sent is not transition.run.cancel_sent,
    }


def tell(tx: Tx, project: str, told: Sequence[tuple[Event, Run | None]], routing: Routing) -> None:
    """Write events, and a delivery of each for every hook that wants it."""
    if not told:
        return
    if tx.connection.dialect.name == "postgresql":
        # Ids must become visible in their order, or a reader that follows them misses one.
        tx.execute(sa.select(sa.func.pg_advisory_xact_lock(sa.func.hashtext(f"events {project}"))))
    made = tx.execute(
        sa.insert(events).returning(events.c.id, sort_by_parameter_order=True),
        [event_values(event) for event, _ in told],
    )
    numbered = [(replace(event, id=row.id), run) for (event, run), row in zip(told, made.all(), strict=True)]
    outbox: list[Delivery] = []
    for event, run, names, current in hearers(tx, project, numbered, routing):
        routes = routes_of(names, routing.hooks)
        outbox += fan_out(event, run, routes, current=current, make_id=lambda: make_id("msg"))
    if outbox:
        tx.execute(sa.insert(deliveries), [delivery_values(delivery) for delivery in outbox])
    notify(tx, project)


def hearers(
    tx: Tx, project: str, told: Sequence[tuple[Event, Run | None]], routing: Routing
) -> Sequence[tuple[Event, Run | None, tuple[str, ...], bool]]:
    """Add to each event the hooks that its job names, and whether its run is the one that stands."""
    declared = _declared(tx, project, {run.job for _, run in told if run is not None})
    return [(event, run, *_hearers(run, declared, routing)) for event, run in told]


def _hearers(run: Run | None, declared: Mapping[str, Any], routing: Routing) -> tuple[tuple[str, ...], bool]:
    if run is None:
        return routing.account_hooks, True
    job = declared.get(run.job)
    if job is None:
        return routing.account_hooks, True
    same = (job.account, job.fingerprint) == (run.account, run.fingerprint)
    current = same and (job.newest or 0) <= run.attempt
    return to_policy(job.policy).hooks, current


def _declared(tx: Tx, project: str, names: set[str]) -> Mapping[str, Any]:
    newest = (
        sa.select(sa.func.max(runs.c.attempt))
        .where(
            runs.c.project == project,
            runs.c.job == jobs.c.name,
            runs.c.account == jobs.c.account,
            runs.c.fingerprint == jobs.c.fingerprint,
        )
        .scalar_subquery()
        .label("newest")
    )
    statement = sa.select(jobs, newest).where(jobs.c.project == project, jobs.c.name.in_(sorted(names)))
    return {row.name: row for row in tx.execute(statement)} if names else {}


def notify(tx: Tx, project: str) -> None:
    """Hint to whoever waits that there is something new; on SQLite the file's own change is the hint."""
    if tx.connection.dialect.name == "postgresql":
        tx.execute(sa.select(sa.func.pg_notify(CHANNEL, project)))
