"""Every way a run may move, with its events; the diagram is in `docs/reliability.md`."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from orchestrator.core.event import Event, EventType
from orchestrator.core.job import JsonObject
from orchestrator.core.run import Reason, Run, Snapshot, Status


@dataclass(frozen=True, kw_only=True, slots=True)
class Transition:
    """The next state of a run, and what goes into the same commit."""

    before: Run
    run: Run
    events: tuple[Event, ...] = ()
    then: Run | None = None
    """The attempt that follows it, not sent yet."""
    request: JsonObject | None = None
    """What is about to be sent for it, its secrets as references."""

    def __post_init__(self) -> None:
        if self.before.status.final and self.run.status is not self.before.status:
            raise ValueError(f"a run that {self.before.status} never moves again")
        if self.then is None:
            return
        if not self.run.status.final:
            raise ValueError("an attempt follows only one that has ended")
        if self.then.status is not Status.PENDING or self.then.marker == self.run.marker:
            raise ValueError("what follows is another attempt, which was not sent yet")

    def released(self) -> "Transition":
        """Give the lease back in the same commit."""
        return replace(self, run=replace(self.run, owner=None, lease_until=None))


def send(run: Run, now: datetime, *, request: JsonObject | None = None) -> Transition:
    """Record the intent, and what will be sent, before the request leaves."""
    return Transition(
        before=run,
        request=request,
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
    """Record the provider's id; a final state is left to the next poll, which also learns the result."""
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
    """Mark a run in doubt that may have been applied, to be searched for at `due_at`."""
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
    """Leave it in doubt for a person to decide, reported once; it is still searched for at `due_at`."""
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
    """Take over what the provider says; an unknown word is shown and leaves the status as it is."""
    status = snapshot.status or run.status
    if run.status.final or (run.status is Status.RUNNING and status is Status.QUEUED):
        status = run.status  # a listing may lag behind: a run seen running never goes back to queued
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
        message = message or run.message  # the outcome of the cancellation is shown until the end
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
    """Move to `status`, with its event; a final run stays as it is."""
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
    """Report once that `run` has taken longer than `limit` since its submission."""
    if run.overdue or run.submitted_at is None or run.status.final or now - run.submitted_at < limit:
        return None
    late = replace(run, overdue=True, sequence=run.sequence + 1)
    return Transition(before=run, run=late, events=(_event(EventType.OVERDUE, late, run.status, now),))
