"""Which hooks hear of a job, which do not, and why."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from orchestrator.app.documents import Document, Whole
from orchestrator.config.manifest import Manifest
from orchestrator.core.delivery import Delivery, DeliveryState, Route, refusal
from orchestrator.core.event import Event, EventType
from orchestrator.core.receiver import HookHealth
from orchestrator.errors import UnknownName
from orchestrator.store.commit import Routing
from orchestrator.store.replay import Told
from orchestrator.store.store import Store

_ANY = datetime(2000, 1, 1, tzinfo=UTC)
JOB_EVENTS = tuple(event for event in EventType if event.startswith("job."))


@dataclass(frozen=True, kw_only=True)
class Outlook(Document):
    """What a hook will hear of a job from now on."""

    hook: str
    hears: tuple[EventType, ...]
    reason: str | None
    """Why it hears nothing."""
    for_: float | None
    """Seconds that a state must last before the hook hears of it."""
    off: str | None
    """Why the hook was switched off."""


@dataclass(frozen=True, kw_only=True)
class Verdict(Document):
    """Whether a hook was told of an event, and why or why not."""

    hook: str
    told: bool
    state: DeliveryState | None
    delivery: str | None
    reason: str | None


@dataclass(frozen=True, kw_only=True)
class Happened(Document):
    """One event of the job, and each hook's verdict."""

    id: int | None
    type: EventType
    timestamp: datetime
    hooks: tuple[Verdict, ...]


@dataclass(frozen=True, kw_only=True)
class AudienceDocument(Whole):
    """The hooks of a job, and which of them were told of each event."""

    job: str
    hooks: tuple[Outlook, ...]
    events: tuple[Happened, ...]


async def explain(store: Store, manifest: Manifest, job: str) -> AudienceDocument:
    """Say for each event of `job` and each hook whether it was told, and why or why not."""
    routing = Routing(hooks=manifest.routes(), account_hooks=manifest.settings.hooks)
    told = await store.replay.audience(job, routing)
    declared = manifest.jobs.get(job)
    if declared is None and not told and not await store.views.standings([job]):
        known = ", ".join(manifest.jobs) or "none"
        message = f"no job {job} is declared or recorded"
        raise UnknownName(message, job, manifest.jobs, hint=f"declared: {known}")
    deliveries = await store.outbox.log(job=job)
    sent = {(one.event_id, one.hook): one for one in deliveries}
    healths = {one.health.name: one.health for one in await store.hooks.all()}
    names = declared.policy.hooks if declared else (told[-1].named if told else ())
    routes = dict(routing.hooks) | {
        one.hook: Route(name=one.hook) for one in deliveries if one.hook not in routing.hooks
    }
    account = declared.account if declared else (told[-1].event.account if told else "")
    return AudienceDocument(
        job=job,
        hooks=tuple(
            _outlook(route, job, account, names, healths.get(name))
            for name, route in routes.items()
            if name in routing.hooks
        ),
        events=tuple(_happened(one, routes, sent) for one in told),
    )


def _outlook(
    route: Route, job: str, account: str, names: Sequence[str], health: HookHealth | None
) -> Outlook:
    sample = Event(type=EventType.RUNNING, timestamp=_ANY, project="", account=account, job=job)
    whole = replace(route, events=tuple(EventType))
    reason = _unnamed(route.name, names) or refusal(whole, sample, current=True)
    return Outlook(
        hook=route.name,
        hears=() if reason else tuple(event for event in JOB_EVENTS if event in route.events),
        reason=reason,
        for_=route.lasts.total_seconds() or None,
        off=health.off if health else None,
    )


def _unnamed(hook: str, names: Sequence[str]) -> str | None:
    if hook in names:
        return None
    return f"the job's hooks ({', '.join(names) or 'none'}) do not include it"


def _happened(
    told: Told, routes: Mapping[str, Route], sent: Mapping[tuple[int | None, str], Delivery]
) -> Happened:
    event = told.event
    return Happened(
        id=event.id,
        type=event.type,
        timestamp=event.timestamp,
        hooks=tuple(_verdict(told, route, sent.get((event.id, name))) for name, route in routes.items()),
    )


def _verdict(told: Told, route: Route, delivery: Delivery | None) -> Verdict:
    reason = _unnamed(route.name, told.named) or refusal(route, told.event, current=told.current)
    if delivery is not None:
        reason = delivery.last_error if delivery.state is not DeliveryState.DELIVERED else None
    elif reason is None:
        reason = (
            "its table asks for this now, but did not then; "
            "`orchestrator hooks redeliver --since D --hook NAME` sends it"
        )
    return Verdict(
        hook=route.name,
        told=delivery is not None,
        state=delivery.state if delivery else None,
        delivery=delivery.id if delivery else None,
        reason=reason,
    )
