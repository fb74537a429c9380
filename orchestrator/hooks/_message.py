"""The text of an event for people: the default message, a template's fields, provider text made harmless."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from orchestrator.core.delivery import Delivery
from orchestrator.core.event import EventType
from orchestrator.core.text import clean

FIELDS: Final = frozenset(
    {
        *("type", "timestamp", "job", "provider", "status", "previous_status", "provider_status"),
        *("remote_id", "run_id", "attempt", "sequence", "current", "result", "model", "message"),
        *("submitted_at", "finished_at", "test"),
    }
)
TABLES: Final = frozenset({"result"})
LONGEST_VALUE: Final = 500

_GAP: Final = "\u200b"
"""Invisible; what follows it becomes neither a mention nor a link."""

_HARMLESS: Final = str.maketrans("<>&[]`*~|\\", "‹›＆［］ʼ∗∼∣＼")  # noqa: RUF001 - that is the point
"""Characters that format text, replaced by look-alikes that do not."""

_TITLES: Final[Mapping[EventType, str]] = {
    EventType.SUBMITTED: "{job} was submitted",
    EventType.QUEUED: "{job} is queued",
    EventType.RUNNING: "{job} is running",
    EventType.SUCCEEDED: "{job} succeeded",
    EventType.FAILED: "{job} failed",
    EventType.CANCELLED: "{job} was cancelled",
    EventType.LOST: "{job} is lost",
    EventType.IN_DOUBT: "{job} needs a decision",
    EventType.OVERDUE: "{job} takes longer than expected",
    EventType.PAUSED: "{provider} is paused",
    EventType.RESUMED: "{provider} is working again",
}
_NOTES: Final[Mapping[EventType, str]] = {
    EventType.FAILED: "Another attempt: orchestrator retry {job}",
    EventType.LOST: "The provider no longer has it: orchestrator why {job}",
    EventType.IN_DOUBT: "It is not known whether the provider accepted it: orchestrator resolve {job}",
    EventType.OVERDUE: "What is known: orchestrator show {job}",
    EventType.PAUSED: "Its runs continue at the provider, but it is not being polled: orchestrator status",
}
_TONES: Final[Mapping[EventType, str]] = {
    EventType.SUCCEEDED: "success",
    EventType.FAILED: "failure",
    EventType.LOST: "failure",
    EventType.CANCELLED: "warning",
    EventType.IN_DOUBT: "warning",
    EventType.OVERDUE: "warning",
    EventType.PAUSED: "warning",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Message:
    """A notification: `tone` is info, success, warning or failure."""

    title: str
    text: str
    tone: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Sent:
    """The result of sending to one service; `late` if it was not known in time."""

    taken: bool
    late: bool
    said: str
    service: str


def harmless(text: str) -> str:
    """Return a provider's text without mentions, links or formatting."""
    text = clean(text, LONGEST_VALUE).translate(_HARMLESS).replace("@", f"@{_GAP}")
    return text.replace("://", f":{_GAP}//").replace("www.", f"www{_GAP}.")


def fields(delivery: Delivery) -> dict[str, Any]:
    """Return the fields for a template, made harmless; those that an event lacks are None."""
    document = json.loads(delivery.body)
    data: Mapping[str, Any] = document["data"]
    result = data.get("result") or {}
    told = {"type": document["type"], "timestamp": document["timestamp"], **data}
    told |= {"result": result, "model": result.get("model")}
    return {name: _safe(told.get(name)) for name in FIELDS} | {"test": bool(data.get("test"))}


def _safe(value: Any, depth: int = 4) -> Any:
    if isinstance(value, str):
        return harmless(value)
    if isinstance(value, dict):
        return {harmless(key): _safe(inner, depth - 1) for key, inner in value.items()} if depth else {}
    if isinstance(value, list):
        return [_safe(inner, depth - 1) for inner in value[:100]] if depth else []
    return value


def default(delivery: Delivery) -> Message:
    """Return the message of a hook without a template."""
    told = fields(delivery)
    event = delivery.event
    title = _TITLES[event].format(**told)
    if told["current"] is False:
        title += " (a run that was replaced)"
    lines = [f"Model: {told['model']}" if told["model"] else "", told["message"] or ""]
    if event.startswith("job."):
        word = f", which says {told['provider_status']}" if told["provider_status"] else ""
        remote = f": {told['remote_id']}" if told["remote_id"] else ""
        attempt = f", attempt {told['attempt']}" if (told["attempt"] or 1) > 1 else ""
        lines.append(f"At {told['provider']}{remote}{word}{attempt}")
    lines.append(_NOTES.get(event, "").format(**told))
    return Message(
        title=f"[test] {title}" if told["test"] else title,
        text="\n".join(line for line in lines if line) or title,
        tone=_TONES.get(event, "info"),
    )


def tone(event: EventType) -> str:
    """Return the tone of an event: info, success, warning or failure."""
    return _TONES.get(event, "info")
