"""One change of a run or of an account, as it is kept and told."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class EventType(StrEnum):
    """What happened."""

    SUBMITTED = "job.submitted"
    QUEUED = "job.queued"
    RUNNING = "job.running"
    SUCCEEDED = "job.succeeded"
    FAILED = "job.failed"
    CANCELLED = "job.cancelled"
    LOST = "job.lost"
    IN_DOUBT = "job.in_doubt"
    OVERDUE = "job.overdue"
    PAUSED = "provider.paused"
    RESUMED = "provider.resumed"


DEFAULT_EVENTS = (
    EventType.SUCCEEDED,
    EventType.FAILED,
    EventType.CANCELLED,
    EventType.LOST,
    EventType.IN_DOUBT,
    EventType.PAUSED,
)
"""The events that a hook gets unless its table says otherwise."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """One change; `id` is None until it is stored, the job's fields are None for an account's event."""

    type: EventType
    timestamp: datetime
    project: str
    account: str
    job: str | None = None
    run_id: str | None = None
    sequence: int | None = None
    status: str | None = None
    previous_status: str | None = None
    provider_status: str | None = None
    message: str | None = None
    id: int | None = None
