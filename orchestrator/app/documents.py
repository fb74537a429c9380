"""The documents that `-o json` prints and the API answers: a field here is a field of the JSON."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from datetime import datetime
from functools import cache
from typing import Any, ClassVar, Final, Literal

from orchestrator.core.delivery import stamp
from orchestrator.core.run import Reason, Status

SCHEMA_VERSION: Final = 1


def as_json(value: Any) -> Any:
    """Return a document, or a part of one, as `json` writes it; a name such as `for_` is `for` there."""
    if is_dataclass(value) and not isinstance(value, type):
        return {key: as_json(getattr(value, name)) for name, key in _keys(type(value))}
    if isinstance(value, datetime):
        return stamp(value)
    if isinstance(value, Mapping):
        return {key: as_json(inner) for key, inner in value.items()}
    if isinstance(value, tuple | list):
        return [as_json(inner) for inner in value]
    return value


@cache
def _keys(kind: type[Any]) -> tuple[tuple[str, str], ...]:
    return tuple((field.name, _key(field.name)) for field in fields(kind))


def _key(name: str) -> str:
    return name.rstrip("_")


@dataclass(frozen=True, kw_only=True)
class Document:
    """A document or a part of one; it has its fields and no others."""

    # Read by pydantic where the API describes itself; nothing else here needs it.
    __pydantic_config__: ClassVar[Mapping[str, Any]] = {
        "extra": "forbid",
        "use_attribute_docstrings": True,
        "alias_generator": _key,
    }


@dataclass(frozen=True, kw_only=True)
class Whole(Document):
    """A document that stands by itself."""

    schema_version: Literal[1] = SCHEMA_VERSION


@dataclass(frozen=True, kw_only=True)
class JobDocument(Document):
    """One job with its current run."""

    job: str
    provider: str
    status: Status
    provider_status: str | None
    remote_id: str | None
    run_id: str | None
    attempt: int | None
    result: Mapping[str, Any] | None
    reason: Reason | None
    message: str | None
    managed: bool
    """False once the job was removed from the files."""
    cancel_requested: bool
    submitted_at: datetime | None
    finished_at: datetime | None
    updated_at: datetime | None
    confirmed_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class ProviderDocument(Document):
    """One account, and whether what is known of it is fresh."""

    provider: str
    kind: str
    state: Literal["ok", "paused", "stale", "idle"]
    reason: str | None
    confirmed_at: datetime | None
    next_poll_at: datetime | None
    poll_interval: str
    """The longest time until the account is polled again."""
    poll_lag: float | None
    """Seconds by which the next complete listing is late."""
    open: int
    """Runs that are not final."""


HookState = Literal["ok", "off", "unfit", "refused", "resting", "failing", "gone"]


@dataclass(frozen=True, kw_only=True)
class HookDocument(Document):
    """One hook, and whether its deliveries arrive."""

    hook: str
    state: HookState
    reason: str | None
    """Why it gets nothing, or what its receiver last answered."""
    waiting: int
    """Deliveries that are not settled."""
    failing_since: datetime | None
    rests_until: datetime | None


@dataclass(frozen=True, kw_only=True)
class DaemonDocument(Document):
    """The daemon that was seen last."""

    seen_at: datetime
    host: str
    pid: int
    running: bool
    """False once it has ended, or gives no sign of life."""


@dataclass(frozen=True, kw_only=True)
class StatusDocument(Whole):
    """Every job, account and hook: the same as `orchestrator status --json`."""

    jobs: tuple[JobDocument, ...]
    providers: tuple[ProviderDocument, ...]
    hooks: tuple[HookDocument, ...]
    daemon: DaemonDocument | None
