"""One event on its way to one hook: who gets it, as which bytes, and when it is tried."""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Any

from orchestrator.core.event import DEFAULT_EVENTS, Event, EventType
from orchestrator.core.receiver import Attempt
from orchestrator.core.run import Run
from orchestrator.core.text import MESSAGE_CAP, clean

SCHEDULE = tuple(
    timedelta(seconds=seconds) for seconds in (0, 5, 30, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400)
)
"""The full wait before each attempt; half of it to all of it is drawn by lot."""

LONGEST_WAIT = timedelta(hours=24)
BODY_CAP = 65536
ANSWER_CAP = 2000


class DeliveryState(StrEnum):
    """Where a delivery stands; all but the first are settled."""

    PENDING = "pending"
    DELIVERED = "delivered"
    DEAD = "dead"
    DROPPED = "dropped"


@dataclass(frozen=True, kw_only=True, slots=True)
class Delivery:
    """One event for one hook; `body` is frozen when it is made, `id` is the webhook-id for ever."""

    id: str
    hook: str
    event: EventType
    project: str
    job: str | None
    lane: str
    """Deliveries of one lane stay in order: those of a job, or of an account for its own events."""
    body: bytes
    state: DeliveryState = DeliveryState.PENDING
    attempts: int = 0
    deferrals: int = 0
    """How often the receiver asked for a later try, which is no failed attempt."""
    due_at: datetime | None
    settled_at: datetime | None = None
    last_error: str | None = None
    event_id: int | None = None
    owner: str | None = None
    epoch: int = 0
    lease_until: datetime | None = None
    lasting: bool = False
    """It is sent only if the state it reports still holds when it is due."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Finished:
    """A claimed delivery and how its attempt went; `jitter` is a number from 0 to 1."""

    delivery: Delivery
    attempt: Attempt
    jitter: float = 0.0
    table: str = ""
    """The digest of the hook's table when it was claimed, where that is known."""

    def by(self, table: str) -> "Finished":
        """Return it as it counts for a hook whose table is `table` by now."""
        stale = self.table not in ("", table)
        return replace(self, attempt=replace(self.attempt, stale=True)) if stale else self


@dataclass(frozen=True, kw_only=True, slots=True)
class Route:
    """Which events a hook wants, of those jobs and accounts that name it."""

    name: str
    events: tuple[str, ...] = DEFAULT_EVENTS
    jobs: tuple[str, ...] | None = None
    """Patterns of names, None for all; an account's events have no job and pass."""
    providers: tuple[str, ...] | None = None
    superseded: bool = False
    lasts: timedelta = timedelta(0)
    """How long a state must last before it is reported."""


def wants(route: Route, event: Event, *, current: bool) -> bool:
    """Decide whether `route` gets `event`."""
    return refusal(route, event, current=current) is None


def refusal(route: Route, event: Event, *, current: bool) -> str | None:
    """Say why `route` does not get `event`, None if it does."""
    if event.type not in route.events:
        return f"its events do not include {event.type}"
    if event.job is not None and route.jobs is not None and not _fits(event.job, route.jobs):
        return f"its jobs ({', '.join(route.jobs)}) do not include {event.job}"
    if route.providers is not None and not _fits(event.account, route.providers):
        return f"its providers ({', '.join(route.providers)}) do not include {event.account}"
    if not current and not route.superseded:
        return "the run was replaced, and superseded is not set"
    return None


def _fits(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def routes_of(names: Iterable[str], known: Mapping[str, Route]) -> tuple[Route, ...]:
    """Return the routes of `names`, each once; a hook that left the files keeps the default events."""
    return tuple(known.get(name, Route(name=name)) for name in dict.fromkeys(names))


def body(event: Event, run: Run | None, *, current: bool = True) -> bytes:
    """Return the body that a hook gets; exactly these bytes are signed and sent."""
    data: dict[str, Any] = {
        "job": event.job,
        "provider": event.account,
        "status": event.status,
        "previous_status": event.previous_status,
        "provider_status": event.provider_status,
        "remote_id": run.remote_id if run else None,
        "run_id": event.run_id,
        "attempt": run.attempt if run else None,
        "sequence": event.sequence,
        "current": current if run else None,
        "result": run.result if run else None,
        "message": clean(event.message) if event.message else None,
        "submitted_at": stamp(run.submitted_at) if run else None,
        "finished_at": stamp(run.finished_at) if run else None,
    }
    written = _written(event, data)
    if len(written) > BODY_CAP and data["result"]:
        # What is beside the model is the provider's own, and may be of any length.
        model = data["result"].get("model")
        written = _written(event, data | {"result": {"model": model[:MESSAGE_CAP] if model else model}})
    return written


def _written(event: Event, data: Mapping[str, Any]) -> bytes:
    document = {"type": event.type, "timestamp": stamp(event.timestamp), "data": data}
    # A provider's JSON may hold half a surrogate pair, which no UTF-8 has.
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "replace")


def stamp(moment: datetime | None) -> str | None:
    """Write an aware UTC time as `2026-11-21T09:00:00Z`, with the fraction where it has one."""
    return None if moment is None else moment.isoformat().replace("+00:00", "Z")


def next_try(
    attempts: int, now: datetime, *, jitter: float, retry_after: float | None = None
) -> datetime | None:
    """Say when to try again after `attempts` failures, or None when the schedule has run out.

    `jitter` is a number from 0 to 1; `retry_after` (seconds) is a lower limit, at most 24 hours.
    """
    if attempts >= len(SCHEDULE):
        return None
    wait = SCHEDULE[attempts] * (0.5 + jitter / 2)
    if retry_after is not None:
        wait = max(wait, timedelta(seconds=min(retry_after, LONGEST_WAIT.total_seconds())))
    return now + wait


def settled(delivery: Delivery, attempt: Attempt, now: datetime, *, jitter: float) -> Delivery:
    """Return `delivery` as it is after `attempt`: delivered, due again, or dead."""
    if attempt.unsent:
        return replace(delivery, owner=None, lease_until=None)
    answer = attempt.text[:ANSWER_CAP] if attempt.text else None
    done = replace(delivery, last_error=answer, owner=None, lease_until=None)
    if attempt.taken:
        return replace(
            done,
            state=DeliveryState.DELIVERED,
            attempts=delivery.attempts + 1,
            due_at=None,
            settled_at=now,
        )
    if attempt.stale:
        # The table in force now has not used any of its attempts.
        return replace(done, attempts=1, deferrals=0, due_at=next_try(1, now, jitter=jitter))
    if attempt.later:
        step = min(max(delivery.attempts, 1) + delivery.deferrals, len(SCHEDULE) - 1)
        due = next_try(step, now, jitter=jitter, retry_after=attempt.retry_after)
        return replace(done, deferrals=delivery.deferrals + 1, due_at=due)
    attempts = delivery.attempts + 1
    due = next_try(attempts, now, jitter=jitter, retry_after=attempt.retry_after)
    if due is None or attempt.gone:
        return replace(done, state=DeliveryState.DEAD, attempts=attempts, due_at=None, settled_at=now)
    return replace(done, attempts=attempts, due_at=due)


def fan_out(
    event: Event,
    run: Run | None,
    routes: Iterable[Route],
    *,
    current: bool = True,
    make_id: Callable[[], str],
) -> tuple[Delivery, ...]:
    """Make the deliveries of `event`, due at once or when it has lasted; they go into its own commit."""
    wanted = [route for route in routes if wants(route, event, current=current)]
    if not wanted:
        return ()
    content = body(event, run, current=current)
    return tuple(
        Delivery(
            id=make_id(),
            hook=route.name,
            event=event.type,
            project=event.project,
            job=event.job,
            lane=event.job if event.job is not None else f"account:{event.account}",
            body=content,
            due_at=event.timestamp + route.lasts,
            event_id=event.id,
            lasting=bool(route.lasts),
        )
        for route in wanted
    )
