"""`orchestrator show JOB`."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime

import click

from orchestrator.app.history import AttemptDocument, ShowDocument, show
from orchestrator.cli import _exit
from orchestrator.cli._app import App, app, at_once
from orchestrator.cli._standing import sentence
from orchestrator.cli._table import Column
from orchestrator.cli._text import age
from orchestrator.core.delivery import stamp

PAIR = (Column(""), Column("", wrap=True))
ATTEMPTS = (
    Column("attempt"),
    Column("state", state=True),
    Column("ended"),
    Column("its id", wrap=True),
    Column("message", wrap=True),
)
EVENTS = (Column("when"), Column("event"), Column("message", wrap=True))


@click.command("show")
@click.argument("job")
@app
def command(app: App, *, job: str) -> int:
    """Show everything known about one job: its run, earlier attempts, what happened."""

    with app.reading(app.settings()) as store:
        found = at_once(show(store, job))
    if app.for_people:
        _print(app, found)
    else:
        app.document(found)
    return _exit.DONE


def _print(app: App, found: ShowDocument) -> None:
    facts = _facts(found, exact=app.output == "wide")
    current = next((run for run in found.runs if run.run_id == found.run_id), None)
    if current is not None:
        facts.append(("marker", current.marker))
    app.rows(PAIR, [fact for fact in facts if fact[1] is not None])
    if current is not None:
        _section(app, "Spec", PAIR, _fields(current.spec))
    earlier = [_attempt(run) for run in found.runs if run is not current]
    _section(app, "Earlier attempts", ATTEMPTS, earlier)
    told = [(_when(event.timestamp), event.type, event.message) for event in found.events]
    _section(app, "What happened", EVENTS, told)


def _section(app: App, title: str, columns: Sequence[Column], rows: Iterable[Sequence[object]]) -> None:
    found = list(rows)
    if found:
        app.out("")
        app.out(click.style(title, bold=True))
        app.rows(columns, found)


def _facts(found: ShowDocument, *, exact: bool) -> list[tuple[str, object]]:
    def when(moment: datetime | None) -> str | None:
        return stamp(moment) if exact or moment is None else _when(moment)

    said = sentence(found)
    return [
        ("job", found.job),
        ("status", found.status),
        ("model" if found.result else "why", said or None),
        ("provider", found.provider),
        ("its word", found.provider_status),
        ("its id", found.remote_id),
        ("run", found.run_id),
        ("attempt", found.attempt),
        ("submitted", when(found.submitted_at)),
        ("finished", when(found.finished_at)),
        ("confirmed", when(found.confirmed_at)),
        ("managed", "yes" if found.managed else "no, it is in no job file any more"),
        *((key, _text(value)) for key, value in (found.result or {}).items() if key != "model"),
    ]


def _when(moment: datetime) -> str:
    return f"{age(moment)} ago"


def _fields(value: object, path: str = "") -> Iterator[tuple[str, str]]:
    """Yield each field of a spec with its path."""
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _fields(inner, f"{path}.{key}" if path else key)
    else:
        yield path, _text(value)


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _attempt(run: AttemptDocument) -> tuple[object, ...]:
    ended = None if run.finished_at is None else _when(run.finished_at)
    return (run.attempt, run.status, ended, run.remote_id, run.message)
