"""A line of the log for people: local time, what it is about, what happened."""

from collections.abc import Mapping, MutableMapping
from datetime import datetime
from typing import Any

import click

from orchestrator.cli._table import COLORS
from orchestrator.cli._text import plain

SUBJECTS: Mapping[str, tuple[str, ...]] = {
    "job": ("run", "job"),
    "hook": ("hook",),
    "account": ("account",),
    "dataset": ("dataset",),
}
"""The field that says what an event is about, and the first words of events that it makes redundant."""
SAID = ("message", "reason", "error")
LEFT_OUT = ("run", "before", "delivery", "hook_event", "logger", "level", "timestamp", "event", "exception")
"""Left out for people; the JSON lines have them."""
LEVELS = {"warning": "yellow", "error": "red", "critical": "red"}


class Line:
    """Renders an event as structlog calls for."""

    def __init__(self, *, color: bool) -> None:
        self._color = color

    def __call__(self, _logger: object, _name: str, event: MutableMapping[str, Any]) -> str:
        """Write one event, and below it the traceback if there is one."""
        fields = {key: value for key, value in event.items() if value not in (None, "")}
        field = next((one for one in SUBJECTS if one in fields), None)
        first, _, rest = str(event["event"]).partition(".")
        if field is not None:
            subject = str(fields.pop(field))
            what = rest if first in SUBJECTS[field] else f"{first} {rest}"
        else:
            subject, what = (first, rest) if rest else ("daemon", first)
        what = plain(str(fields.pop("status", what)) if what == "advanced" else what)
        style = LEVELS.get(str(event.get("level"))) or COLORS.get(what)
        moment = f"{datetime.fromisoformat(event['timestamp']).astimezone():%H:%M:%S}"
        said = f"{_bold(plain(subject))}  {click.style(what.replace('_', ' ').replace('.', ' '), fg=style)}"
        text = f"{moment}  {said}{_details(fields)}"
        if "exception" in event:
            text += f"\n{event['exception']}"
        return text if self._color else click.unstyle(text)


def _bold(text: str) -> str:
    return click.style(text, bold=True)


def _details(fields: Mapping[str, Any]) -> str:
    told = [plain(fields[key]) for key in SAID if key in fields]
    rest = [f"{key}={plain(value)}" for key, value in fields.items() if key not in (*SAID, *LEFT_OUT, "hint")]
    text = "".join(f"  {one}" for one in rest) + "".join(f": {one}" for one in told)
    return text + (f" ({plain(fields['hint'])})" if "hint" in fields else "")
