"""A plan as Markdown, for a comment on a pull request."""

import json
import re
from collections.abc import Mapping
from typing import Any, Final

from orchestrator.cli._text import noted, plain, summary
from orchestrator.core.plan import Action, Change, Plan

MOST_ROWS: Final = 100
"""Changes that are listed; a comment has room for no more than some 65,000 characters."""
LONGEST: Final = 120
"""Characters of one value."""
_SPECIAL: Final = re.compile(r"[\\`*_\[\]()#!|<>~&]")


def plan_markdown(plan: Plan) -> str:
    """Write a plan as a table, with its summary in front; no value in it can be more than text."""
    shown = [change for change in plan.changes if change.action is not Action.NONE or noted(change)]
    lines = [f"**{summary(plan)}**"]
    if shown:
        lines += ["", "| change | job | account | why |", "|---|---|---|---|"]
        lines += map(_row, shown[:MOST_ROWS])
    if len(shown) > MOST_ROWS:
        lines += ["", f"and {len(shown) - MOST_ROWS} more"]
    if plan.warnings:
        lines += ["", *(f"- warning: {_text(warning)}" for warning in plan.warnings)]
    return "\n".join(lines)


def _row(change: Change) -> str:
    action = "" if change.action is Action.NONE else change.action.value
    why = "<br>".join((_text(change.reason), *map(_part, change.diff)))
    return f"| {action} | {_code(change.job)} | {_code(change.account)} | {why} |"


def _part(part: Mapping[str, Any]) -> str:
    before, after = (
        "(none)" if value is None else _code(json.dumps(value, ensure_ascii=False))
        for value in (part["before"], part["after"])
    )
    return f"{_code(part['path'])}: {before} → {after}"


def _text(text: str) -> str:
    """Write text as text: no markup, and nobody is notified."""
    return _SPECIAL.sub(r"\\\g<0>", plain(text)).replace("@", "@<!-- -->")


def _code(text: str) -> str:
    """Write a value as code, in a fence that it does not contain."""
    text = plain(text)
    text = text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
    fence = "`" * (max(map(len, re.findall("`+", text)), default=0) + 1)
    pad = " " if "`" in text else ""
    return f"{fence}{pad}{text}{pad}{fence}".replace("|", r"\|")
