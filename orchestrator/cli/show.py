"""`orchestrator show JOB`."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import click

from orchestrator.app import report
from orchestrator.cli._app import App, app, run
from orchestrator.cli._standing import sentence
from orchestrator.cli._table import Column
from orchestrator.cli._text import age, document
from orchestrator.cli._wait import known
from orchestrator.core.delivery import stamp
from orchestrator.core.event import Event
from orchestrator.core.run import Run

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

    async def work() -> int:
        settings = app.settings()
        async with app.reading(settings) as store:
            standing = (await known(store, [job]))[0]
            history = await store.views.history(job)
            events = await store.views.events(job=job)
            accounts = {account.name: account for account in await store.accounts.all()}
        shown = report.job(standing, accounts.get(standing.record.account))
        if not app.for_people:
            runs = [attempt(one) for one in history]
            told = [report.event(event) for event in events]
            app.out(document({"schema_version": 1, **shown, "runs": runs, "events": told}))
            return 0
        _print(app, shown, history, events)
        return 0

    return run(work)


def _print(app: App, shown: Mapping[str, Any], history: Sequence[Run], events: Sequence[Event]) -> None:
    facts = _facts(shown, exact=app.output == "wide")
    current = next((run for run in history if run.id == shown["run_id"]), None)
    if current is not None:
        facts.append(("marker", current.marker))
    app.rows(PAIR, [fact for fact in facts if fact[1] is not None])
    earlier = [run for run in history if run is not current]
    if current is not None:
        _section(app, "Spec", PAIR, _fields(current.spec))
    _section(app, "Earlier attempts", ATTEMPTS, [_attempt(run) for run in earlier])
    told = [(_when(event.timestamp), event.type, event.message) for event in events]
    _section(app, "What happened", EVENTS, told)


def _section(app: App, title: str, columns: Sequence[Column], rows: Iterable[Sequence[object]]) -> None:
    found = list(rows)
    if found:
        app.out("")
        app.out(click.style(title, bold=True))
        app.rows(columns, found)


def _facts(shown: Mapping[str, Any], *, exact: bool) -> list[tuple[str, object]]:
    def when(key: str) -> str | None:
        return shown[key] if exact or shown[key] is None else _when(shown[key])

    said = sentence(shown)
    return [
        ("job", shown["job"]),
        ("status", shown["status"]),
        ("model" if shown["result"] else "why", said or None),
        ("provider", shown["provider"]),
        ("its word", shown["provider_status"]),
        ("its id", shown["remote_id"]),
        ("run", shown["run_id"]),
        ("attempt", shown["attempt"]),
        ("submitted", when("submitted_at")),
        ("finished", when("finished_at")),
        ("confirmed", when("confirmed_at")),
        ("managed", "yes" if shown["managed"] else "no, it is in no job file any more"),
    ] + [(key, _text(value)) for key, value in (shown["result"] or {}).items() if key != "model"]


def _when(moment: datetime | str) -> str:
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


def _attempt(run: Run) -> tuple[object, ...]:
    return (run.attempt, run.status, _when(run.finished_at or run.updated_at), run.remote_id, run.message)


def attempt(run: Run) -> dict[str, object]:
    """Return one run of a job's history."""
    return {
        "run_id": run.id,
        "attempt": run.attempt,
        "fingerprint": run.fingerprint,
        "marker": run.marker,
        "status": run.status,
        "reason": run.reason,
        "remote_id": run.remote_id,
        "spec": dict(run.spec),
        "steps": dict(run.steps),
        "result": run.result,
        "message": run.message,
        "created_at": stamp(run.created_at),
        "sent_at": stamp(run.sent_at),
        "submitted_at": stamp(run.submitted_at),
        "finished_at": stamp(run.finished_at),
    }
