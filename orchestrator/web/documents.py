"""The answers as `/openapi.json` describes them; the values themselves come from `engine.report`."""

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from orchestrator.core.delivery import DeliveryState
from orchestrator.core.event import EventType
from orchestrator.core.run import Reason, Status


class Document(BaseModel):
    """What is answered has these fields and no others."""

    model_config = ConfigDict(extra="forbid")


class JobDocument(Document):
    """One job with its current run."""

    job: str
    provider: str
    status: Status
    provider_status: str | None
    remote_id: str | None
    run_id: str | None
    attempt: int | None
    result: dict[str, Any] | None
    reason: Reason | None
    message: str | None
    managed: bool = Field(description="False once the job was removed from the files.")
    cancel_requested: bool
    submitted_at: datetime | None
    finished_at: datetime | None
    updated_at: datetime | None
    confirmed_at: datetime | None


class ProviderDocument(Document):
    """One account, and whether what is known of it is fresh."""

    provider: str
    kind: str
    state: Literal["ok", "paused", "stale", "idle"]
    reason: str | None
    confirmed_at: datetime | None
    next_poll_at: datetime | None
    poll_interval: str = Field(description="The longest time until the next look.")
    poll_lag: float | None = Field(description="Seconds by which the next complete look is late.")
    open: int


class HookDocument(Document):
    """One hook, and whether it hears."""

    hook: str
    state: Literal["ok", "off", "unfit", "refused", "resting", "failing", "gone"]
    reason: str | None = Field(description="Why it gets nothing, or what its receiver last answered.")
    waiting: int = Field(description="Deliveries that are not settled.")
    failing_since: datetime | None
    rests_until: datetime | None


class DaemonDocument(Document):
    """The daemon that was seen last."""

    seen_at: datetime
    host: str
    pid: int
    running: bool = Field(description="False once it has ended, or gives no sign of life.")


class StatusDocument(Document):
    """The same as `orchestrator status --json`."""

    schema_version: Literal[1]
    jobs: list[JobDocument]
    providers: list[ProviderDocument]
    hooks: list[HookDocument]
    daemon: DaemonDocument | None


class DecidedDocument(Document):
    """A job after a decision about it."""

    schema_version: Literal[1]
    job: JobDocument
    notes: list[str] = Field(description="What the provider cannot do, as sentences for a person.")


class EventDocument(Document):
    """One change of a run, or of an account: then the job's fields are null."""

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


class EventsDocument(Document):
    """Events, oldest first."""

    schema_version: Literal[1]
    events: list[EventDocument]
    next: int = Field(description="Pass it as `after` to continue from here.")


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


class DeliveriesDocument(Document):
    """Deliveries, oldest first."""

    schema_version: Literal[1]
    deliveries: list[DeliveryDocument]
    next: str | None = Field(
        description="Pass it as `after` to continue from here; null while there is none."
    )


class HealthDocument(Document):
    """The process answers."""

    status: Literal["ok"]


class ReadyDocument(Document):
    """Whether the daemon makes progress."""

    ready: bool
    late: list[str] = Field(description="The loops that have made no progress for too long.")
    stopping: bool = Field(description="It is stopping: it finishes what is under way and starts nothing.")
    trouble: str | None = Field(description="Why the current job files are not in force.")


class ErrorDocument(Document):
    """Why a request was not done, and what to do about it."""

    error: str
    hint: str | None
