"""What happened: events, deliveries to hooks, and the attempts of a job."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from orchestrator.app.documents import Document, JobDocument, Whole
from orchestrator.app.status import one
from orchestrator.core.delivery import Delivery, DeliveryState
from orchestrator.core.event import Event, EventType
from orchestrator.core.run import Reason, Run, Status
from orchestrator.store.store import Store


@dataclass(frozen=True, kw_only=True)
class EventDocument(Document):
    """One change of a run; for an event of an account the job's fields are null."""

    id: int
    type: EventType
    timestamp: datetime
    job: str | None
    provider: str
    run_id: str | None
    sequence: int | None
    status: str | None
    previous_status: str | None
    provider_status: str | None
    message: str | None


@dataclass(frozen=True, kw_only=True)
class EventsDocument(Whole):
    """Events, oldest first."""

    events: tuple[EventDocument, ...]


@dataclass(frozen=True, kw_only=True)
class EventsPage(EventsDocument):
    """Some events, oldest first, and where to continue."""

    next: int
    """Pass it as `after` to continue from here."""


@dataclass(frozen=True, kw_only=True)
class DeliveryDocument(Document):
    """One event for one hook."""

    id: str
    hook: str
    event: EventType
    job: str | None
    state: DeliveryState
    attempts: int
    due_at: datetime | None
    settled_at: datetime | None
    last_error: str | None


@dataclass(frozen=True, kw_only=True)
class DeliveriesDocument(Whole):
    """Deliveries, oldest first."""

    deliveries: tuple[DeliveryDocument, ...]


@dataclass(frozen=True, kw_only=True)
class DeliveriesPage(DeliveriesDocument):
    """Some deliveries, oldest first, and where to continue."""

    next: str | None
    """Pass it as `after` to continue from here; null while there is none."""


@dataclass(frozen=True, kw_only=True)
class AttemptDocument(Document):
    """One run in a job's history."""

    run_id: str
    attempt: int
    fingerprint: str
    marker: str
    status: Status
    reason: Reason | None
    remote_id: str | None
    spec: Mapping[str, Any]
    steps: Mapping[str, Any]
    result: Mapping[str, Any] | None
    message: str | None
    created_at: datetime
    sent_at: datetime | None
    submitted_at: datetime | None
    finished_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class ShowDocument(JobDocument, Whole):
    """Everything known about one job."""

    runs: tuple[AttemptDocument, ...]
    events: tuple[EventDocument, ...]


async def events(
    store: Store, *, job: str | None = None, after: int | None = None, most: int = 1000
) -> EventsPage:
    """Return what happened, oldest first: the events after an id, else the latest."""
    found = tuple(event(each) for each in await store.views.events(job=job, after=after, most=most))
    return EventsPage(events=found, next=found[-1].id if found else after or 0)


async def deliveries(
    store: Store, *, hook: str | None = None, after: str | None = None, most: int = 1000
) -> DeliveriesPage:
    """Return deliveries to hooks, oldest first: those after one of them, else the latest."""
    found = tuple(delivery(each) for each in await store.outbox.log(hook=hook, after=after, most=most))
    return DeliveriesPage(deliveries=found, next=found[-1].id if found else after)


async def show(store: Store, job: str) -> ShowDocument:
    """Return everything known about one job; raises `UnknownName` for one that is not recorded."""
    current = await one(store, job)
    return ShowDocument(
        **vars(current),
        runs=tuple(_attempt(run) for run in await store.views.history(job)),
        events=(await events(store, job=job)).events,
    )


def event(event: Event) -> EventDocument:
    """Return an event that is stored."""
    return EventDocument(
        id=event.id or 0,
        type=event.type,
        timestamp=event.timestamp,
        job=event.job,
        provider=event.account,
        run_id=event.run_id,
        sequence=event.sequence,
        status=event.status,
        previous_status=event.previous_status,
        provider_status=event.provider_status,
        message=event.message,
    )


def delivery(delivery: Delivery) -> DeliveryDocument:
    """Return one event for one hook."""
    return DeliveryDocument(
        id=delivery.id,
        hook=delivery.hook,
        event=delivery.event,
        job=delivery.job,
        state=delivery.state,
        attempts=delivery.attempts,
        due_at=delivery.due_at,
        settled_at=delivery.settled_at,
        last_error=delivery.last_error,
    )


def _attempt(run: Run) -> AttemptDocument:
    return AttemptDocument(
        run_id=run.id,
        attempt=run.attempt,
        fingerprint=run.fingerprint,
        marker=run.marker,
        status=run.status,
        reason=run.reason,
        remote_id=run.remote_id,
        spec=run.spec,
        steps=run.steps,
        result=run.result,
        message=run.message,
        created_at=run.created_at,
        sent_at=run.sent_at,
        submitted_at=run.submitted_at,
        finished_at=run.finished_at,
    )
