"""How every error is printed, for people and for scripts."""

import json
import re
import sys
from collections.abc import Iterator, Sequence
from typing import Any, Final

import click

from orchestrator.cli._exit import Misuse, of_error
from orchestrator.cli._options import Form, color_on, typed
from orchestrator.errors import Code, ManifestError, OrchestratorError, Problem, near

_MARGIN: Final = 8
"""Characters before a line of a file: its number and a bar."""
_CHOICE: Final = re.compile(r"'([^']*)' is not one of (.*)")
"""What click says of an option's value that is not among the choices."""


class Bug(OrchestratorError):
    """A defect of this program."""

    kind = Code.BUG


class SystemFailure(OrchestratorError):
    """The operating system refused something."""

    kind = Code.SYSTEM


def tell(error: OrchestratorError, form: Form) -> int:
    """Print an error, with every secret hidden in it, and return the exit code."""
    # Imported here, since `--help` needs none of it.
    from orchestrator.cli._sentences import fill
    from orchestrator.net.redaction import redact

    if form.output in ("json", "jsonl"):
        document = {"schema_version": 1, **problems(error)}
        for one in document["problems"]:
            said = {
                key: typed(one[key], sandbox=form.sandbox) for key in ("path", "message", "hint") if one[key]
            }
            one |= {key: redact(text) for key, text in said.items()}
        click.echo(json.dumps(document, indent=2 if form.output == "json" else None, ensure_ascii=False))
    else:
        lines = _problems(error) if isinstance(error, ManifestError) else _sentence(error)
        text = redact(typed("\n".join(lines), sandbox=form.sandbox))
        fill(text, sys.stderr, color=color_on(form.color, sys.stderr))
    return of_error(error)


def problems(error: OrchestratorError) -> dict[str, Any]:
    """Return the document of an error, and how many more problems there are than it lists."""
    if isinstance(error, ManifestError):
        more = {"more": error.more} if error.more else {}
        return {"problems": documents(error.problems), **more}
    nowhere = dict.fromkeys(("file", "line", "column", "path"))
    return {"problems": [{"code": error.kind, **nowhere, "message": error.message, "hint": error.hint}]}


def documents(found: Sequence[Problem]) -> list[dict[str, Any]]:
    """Return problems of job files as JSON has them; what is not known is null."""
    return [
        {
            "code": one.code,
            "file": one.file,
            "line": one.line or None,
            "column": one.column or None,
            "path": one.path or None,
            "message": one.message,
            "hint": one.hint,
        }
        for one in found
    ]


def _problems(error: ManifestError) -> Iterator[str]:
    from orchestrator.cli._table import width

    room = width(sys.stderr)
    for one in error.problems:
        yield from _problem(one, None if room is None else room - _MARGIN)
    count = len(error.problems) + error.more
    codes = " ".join(dict.fromkeys(one.code for one in error.problems))
    if error.more:
        yield f"and {error.more} more"
    yield f"{count} problem{'s' if count > 1 else ''}; to read more: orchestrator explain {codes}"


def _problem(problem: Problem, room: int | None) -> Iterator[str]:
    """Write a problem and its place, then the line of the file, as much of it as fits."""
    place, _, rest = str(problem).partition(": ")
    yield f"{click.style(place, bold=True)}: {rest}"
    text, at = problem.excerpt, problem.column - 1
    if room is not None and len(text) > room > 0:
        start = min(max(0, at - room // 3), len(text) - room)
        text, at = text[start : start + room], at - start
    if text:
        yield click.style(f"{problem.line:>{_MARGIN - 3}} | ", dim=True) + text
        caret = click.style("^" * min(problem.width, len(text) - at), fg="red", bold=True)
        yield click.style(f"{'|':>{_MARGIN - 1}} ", dim=True) + " " * at + caret


def _sentence(error: OrchestratorError) -> Iterator[str]:
    yield f"{click.style('error:', fg='red', bold=True)} {error.message}"
    if error.hint:
        yield f"  {click.style('hint:', bold=True)} {error.hint}"


def misuse(error: click.ClickException) -> Misuse:
    """Turn an error of click into one of ours."""
    message, meant = error.format_message().rstrip("."), None
    if isinstance(error, click.NoSuchOption):
        message = f"no such option {error.option_name}"
        meant = near(error.option_name, error.possibilities or ())
    elif choice := _CHOICE.search(message):
        meant = near(choice[1], re.findall(r"'([^']*)'", choice[2]))
    context = error.ctx if isinstance(error, click.UsageError) else None
    path = context.command_path if context is not None else "orchestrator"
    text = f"{message[:1].lower()}{message[1:]}"
    return Misuse(f"{text}, {meant}" if meant else text, hint=f"{path} --help")
