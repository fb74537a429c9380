"""One submission of a job, and what a provider says of it; the ways it moves are in `transition`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal, assert_never

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


# Not frozen: that would make it five times slower to create, and a listing creates one for each item.
@dataclass(kw_only=True, slots=True)
class Snapshot:
    """What a provider says of one fine-tune; `status` is None if its word is unknown."""

    remote_id: str
    status: Status | None
    provider_status: str
    marker: str | None = None
    identity: Mapping[str, Any] = field(default_factory=dict)
    """The fields that name the work, as `Provider.identity` gives them for a spec."""
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
    """It was reported that it takes too long."""
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


def next_call(run: Run) -> Literal["submit", "find", "step", "cancel", "poll"] | None:
    """Say which provider call moves `run` on, or None if there is none to make."""
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
