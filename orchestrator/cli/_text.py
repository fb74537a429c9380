"""Text for people: plans, ages, counts."""

import json
import unicodedata
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import click

from orchestrator.config.duration import show
from orchestrator.core.plan import Action, Change, Plan

SIGNS = {
    Action.CREATE: ("+", "green"),
    Action.REPLACE: ("-/+", "yellow"),
    Action.CANCEL: ("-", "red"),
    Action.UPDATE: ("~", "cyan"),
}


def plain(value: object) -> str:
    """Write a value that may come from outside: no control, format or line character, None as a dash."""
    text = "-" if value is None or value == "" else str(value)
    return "".join(" " if unicodedata.category(c) in ("Cc", "Cf", "Zl", "Zp") else c for c in text)


def count(number: int, noun: str) -> str:
    """Write `1 job`, `2 jobs`."""
    return f"{number} {noun}" + ("" if number == 1 else "s")


def plan_text(plan: Plan) -> str:
    """Write a plan for a person; the last line is the summary, or that there is nothing to do."""
    lines = [click.style(f"warning: {plain(warning)}", fg="yellow") for warning in plan.warnings]
    lines += changes_text(plan.changes)
    return "\n".join([*lines, summary(plan)])


def summary(plan: Plan) -> str:
    """Write how many changes of each kind there are."""
    counts = plan.summary
    if plan.empty:
        return "No changes."
    return (
        f"Plan: {counts['create']} to create, {counts['replace']} to replace, "
        f"{counts['cancel']} to cancel, {counts['update']} to update."
    )


def noted(change: Change) -> bool:
    """Say whether a person should read why nothing is done about a job."""
    return change.notice or (change.run is not None and change.run.given_up)


def changes_text(changes: Iterable[Change]) -> list[str]:
    """Write changes for a person, line by line."""
    return [line for change in changes for line in _change(change)]


def _change(change: Change) -> list[str]:
    if change.action is Action.NONE:
        return [f"  {change.job}: {plain(change.reason)}"] if noted(change) else []
    sign, color = SIGNS[change.action]
    what = click.style(f"{sign:>3} {change.action}", fg=color)
    return [
        f"{what} {change.job} ({change.account}): {plain(change.reason)}",
        *(
            f"      {part['path']}: {_value(part['before'])} -> {_value(part['after'])}"
            for part in change.diff
        ),
    ]


def _value(value: object) -> str:
    return "(none)" if value is None else plain(json.dumps(value, ensure_ascii=False))


def age(moment: datetime | None, now: datetime | None = None) -> str:
    """Write how long ago a time was: `40s`, `12m`, `3h`, `5d`."""
    if moment is None:
        return "-"
    return short((now or datetime.now(UTC)) - moment)


def short(length: timedelta) -> str:
    """Write a length of time in its largest unit of which there are two: `119s`, `2m`."""
    seconds = max(0, int(length.total_seconds()))
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= 2 * size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def until(moment: datetime | None, now: datetime | None = None) -> str:
    """Write how long it is to a time: `40s`, `now` where it has come, a dash where there is none."""
    if moment is None:
        return "-"
    seconds = round((moment - (now or datetime.now(UTC))).total_seconds())
    return show(timedelta(seconds=seconds)) if seconds > 0 else "now"
