"""What happened: events, deliveries to hooks, and the attempts of a job."""

from orchestrator.app.documents import (
    AttemptDocument,
    DeliveriesPage,
    DeliveryDocument,
    EventDocument,
    EventsPage,
    ShowDocument,
)
from orchestrator.app.status import one
from orchestrator.core.delivery import Delivery
from orchestrator.core.event import Event
from orchestrator.core.run import Run
from orchestrator.store.store import Store


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
