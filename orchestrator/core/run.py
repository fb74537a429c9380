"""One submission of a job, and every way it may move; the diagram is in `docs/reliability.md`."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Literal, assert_never

from orchestrator.core.event import Event, EventType
from orchestrator.core.job import Input, JsonObject


class Status(StrEnum):
    """Where a run stands; the last four are final and never left."""

    PENDING = "pending"
    SUBMITTING = "submitting"
    IN_DOUBT = "in_doubt"
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    LOST = "lost"

    @property
    def final(self) -> bool:
        """Say whether a run here never moves again."""
        return self in FINAL


FINAL = frozenset({Status.SUCCEEDED, Status.FAILED, Status.CANCELLED, Status.LOST})
OPEN = frozenset({Status.SUBMITTING, Status.IN_DOUBT, Status.QUEUED, Status.RUNNING})
"""What counts against `max_running`: all that the provider may be working on."""


class Reason(StrEnum):
    """Why a run does not move."""

    LOOKING = "looking"
    PARKED = "parked"
    CONFLICT = "conflict"
    CREDENTIALS = "credentials"
    LIMIT = "limit"
    HELD = "held"
    NEEDS = "needs"


# Not frozen, which would make it five times as dear: a listing makes one of each of its lines.
@dataclass(kw_only=True, slots=True)
class Snapshot:
    """What a provider says of one fine-tune; `status` is None where its word is not known."""

    remote_id: str
    status: Status | None
    provider_status: str
    marker: str | None = None
    echo: Mapping[str, Any] = field(default_factory=dict)
    """The fields that name the work, as `Provider.echo` gives them for a spec."""
    created_at: datetime | None = None
    message: str | None = None
    name: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """One submission, as it stands in the database."""

    id: str
    project: str
    job: str
    account: str
    kind: str
    fingerprint: str
    attempt: int
    marker: str
    spec: JsonObject
    inputs: Mapping[str, Input] = field(default_factory=dict)
    status: Status = Status.PENDING
    reason: Reason | None = None
    provider_status: str | None = None
    remote_id: str | None = None
    steps: Mapping[str, str] = field(default_factory=dict)
    """Calls after create, by name: `todo`, `sent` (maybe applied) or `done`."""
    after: str | None = None
    """The run that must be final before this one is sent."""
    cancel: Literal["cancel", "delete"] | None = None
    cancel_sent: bool = False
    result: JsonObject | None = None
    message: str | None = None
    sequence: int = 0
    overdue: bool = False
    """It was told that it takes too long."""
    looks: int = 0
    """Complete listings that did not show it."""
    created_at: datetime
    updated_at: datetime
    due_at: datetime | None = None
    sent_at: datetime | None = None
    submitted_at: datetime | None = None
    finished_at: datetime | None = None
    owner: str | None = None
    epoch: int = 0
    lease_until: datetime | None = None

    @property
    def unfinished(self) -> str | None:
        """Name the first call after create that is not known to be done."""
        return next((name for name, state in self.steps.items() if state != "done"), None)

    @property
    def stuck(self) -> bool:
        """Say whether only a person can move it on."""
        return self.reason in (Reason.PARKED, Reason.CONFLICT)


@dataclass(frozen=True, kw_only=True, slots=True)
class Transition:
    """The next state of a run and the events that go into the same commit."""

    before: Run
    run: Run
    events: tuple[Event, ...] = ()

    def __post_init__(self) -> None:
        if self.before.status.final and self.run.status is not self.before.status:
            raise ValueError(f"a run that {self.before.status} never moves again")

    def released(self) -> "Transition":
        """Give the lease back in the same commit."""
        return replace(self, run=replace(self.run, owner=None, lease_until=None))


def next_call(run: Run) -> Literal["submit", "find", "step", "cancel", "poll"] | None:
    """Say which provider call brings `run` forward, or None where it rests."""
    match run.status:
        case Status.PENDING:
            return "submit"
        case Status.SUBMITTING:
            return "find"
        case Status.IN_DOUBT:
            return "find" if run.reason in (Reason.LOOKING, Reason.PARKED) else None
        case Status.QUEUED | Status.RUNNING:
            if run.cancel and not run.cancel_sent:
                return "cancel"
            return "step" if run.unfinished else "poll"
        case Status.SUCCEEDED | Status.FAILED | Status.CANCELLED | Status.LOST:
            return None
    assert_never(run.status)


def send(run: Run, now: datetime) -> Transition:
    """Record the intent, before the request leaves."""
    return Transition(
        before=run,
        run=replace(
            run, status=Status.SUBMITTING, reason=None, message=None, sent_at=now, updated_at=now, due_at=None
        ),
    )


def retreat(run: Run, now: datetime, *, reason: Reason | None, message: str, due_at: datetime) -> Transition:
    """Go back to pending: it is known that the provider made nothing."""
    changed = replace(
        run,
        status=Status.PENDING,
        reason=reason,
        message=message,
        sent_at=None,
        updated_at=now,
        due_at=due_at,
    )
    return Transition(before=run, run=changed)


def bind(run: Run, snapshot: Snapshot, now: datetime) -> Transition:
    """Write down the provider's id; a final state is left to the next poll, which also knows the result."""
    status = snapshot.status if snapshot.status in (Status.QUEUED, Status.RUNNING) else Status.QUEUED
    bound = replace(
        run,
        status=status,
        reason=None,
        message=None,
        provider_status=snapshot.provider_status,
        remote_id=snapshot.remote_id,
        submitted_at=run.sent_at or now,
        updated_at=now,
        due_at=now,
        looks=0,
        sequence=run.sequence + 1,
    )
    submitted = _event(EventType.SUBMITTED, bound, run.status, now)
    if snapshot.status is not status:
        return Transition(before=run, run=bound, events=(submitted,))
    bound = replace(bound, sequence=bound.sequence + 1)
    return Transition(
        before=run, run=bound, events=(submitted, _event(EVENT_OF[status], bound, run.status, now))
    )


def doubt(run: Run, now: datetime, *, message: str, due_at: datetime | None = None) -> Transition:
    """Keep what may have been applied as in doubt, to be looked up at `due_at`."""
    return Transition(
        before=run,
        run=replace(
            run,
            status=Status.IN_DOUBT,
            reason=Reason.LOOKING,
            message=message,
            updated_at=now,
            due_at=due_at or now,
            looks=0,
        ),
    )


def look_again(run: Run, *, due_at: datetime) -> Transition:
    """Count a complete listing that did not show it."""
    return Transition(before=run, run=replace(run, looks=run.looks + 1, due_at=due_at))


def stop_for_person(
    run: Run, now: datetime, *, reason: Reason, message: str, due_at: datetime | None = None
) -> Transition:
    """Leave it in doubt for a person to decide, and tell once; it is still looked for at `due_at`."""
    stopped = replace(
        run,
        status=Status.IN_DOUBT,
        reason=reason,
        message=message,
        updated_at=now,
        due_at=due_at,
        sequence=run.sequence + 1,
    )
    if run.stuck:
        return Transition(before=run, run=replace(stopped, sequence=run.sequence))
    return Transition(before=run, run=stopped, events=(_event(EventType.IN_DOUBT, stopped, run.status, now),))


def observe(run: Run, snapshot: Snapshot, now: datetime, *, result: JsonObject | None = None) -> Transition:
    """Take what the provider says; a word that is not known leaves the status, and is shown."""
    status = snapshot.status or run.status
    if run.status.final or (run.status is Status.RUNNING and status is Status.QUEUED):
        status = run.status  # a listing may lag behind; what was seen running is not un-run
    if status is Status.SUCCEEDED and result is None:
        status = run.status  # not a success until there is a model to name
    if status is run.status:
        return Transition(
            before=run,
            run=replace(
                run,
                provider_status=snapshot.provider_status,
                message=snapshot.message or run.message,
                remote_id=snapshot.remote_id,
                updated_at=now,
            ),
        )
    message = snapshot.message
    if run.cancel and not status.final:
        message = message or run.message  # what became of the cancellation holds until the end
    return finish(run, now, status=status, message=message, result=result, word=snapshot.provider_status)


def step_sent(run: Run, name: str) -> Transition:
    """Record that the call `name` is about to be made."""
    return Transition(before=run, run=replace(run, steps={**run.steps, name: "sent"}))


def step_done(
    run: Run, name: str, snapshot: Snapshot | None, now: datetime, *, result: JsonObject | None = None
) -> Transition:
    """Record that the call `name` was made, with what the provider says since."""
    done = replace(run, steps={**run.steps, name: "done"}, message=None, updated_at=now)
    if snapshot is None:
        return Transition(before=run, run=done)
    return replace(observe(done, snapshot, now, result=result), before=run)


def finish(
    run: Run,
    now: datetime,
    *,
    status: Status,
    message: str | None = None,
    result: JsonObject | None = None,
    word: str | None = None,
) -> Transition:
    """Move to `status`, with its event; what is final already stays as it is."""
    if run.status.final:
        return Transition(before=run, run=run)
    moved = replace(
        run,
        status=status,
        reason=None,
        provider_status=word if word is not None else run.provider_status,
        message=message,
        result=result,
        updated_at=now,
        finished_at=now if status.final else None,
        due_at=None if status.final else run.due_at,
        sequence=run.sequence + 1,
    )
    return Transition(before=run, run=moved, events=(_event(EVENT_OF[status], moved, run.status, now),))


EVENT_OF: Mapping[Status, EventType] = {
    Status.QUEUED: EventType.QUEUED,
    Status.RUNNING: EventType.RUNNING,
    Status.SUCCEEDED: EventType.SUCCEEDED,
    Status.FAILED: EventType.FAILED,
    Status.CANCELLED: EventType.CANCELLED,
    Status.LOST: EventType.LOST,
}


def _event(kind: EventType, run: Run, previous: Status, now: datetime) -> Event:
    return Event(
        type=kind,
        timestamp=now,
        project=run.project,
        account=run.account,
        job=run.job,
        run_id=run.id,
        sequence=run.sequence,
        status=run.status,
        previous_status=previous,
        provider_status=run.provider_status,
        message=run.message,
    )


def overdue(run: Run, now: datetime, limit: timedelta) -> Transition | None:
    """Tell once that `run` takes longer than `limit`, counted from its submission."""
    if run.overdue or run.submitted_at is None or run.status.final or now - run.submitted_at < limit:
        return None
    late = replace(run, overdue=True, sequence=run.sequence + 1)
    return Transition(before=run, run=late, events=(_event(EventType.OVERDUE, late, run.status, now),))
