"""`orchestrator events`."""

import sys
from collections.abc import Sequence

import anyio
import click

from orchestrator.app import report
from orchestrator.cli._app import App, app, run
from orchestrator.cli._table import Column
from orchestrator.cli._text import document, line, plain
from orchestrator.cli._wait import known
from orchestrator.core.delivery import stamp
from orchestrator.core.event import Event

FOLLOW_SECONDS = 0.5
COLUMNS = (
    Column("id", wide=True),
    Column("time"),
    Column("event"),
    Column("job", cut=True),
    Column("provider", wide=True),
    Column("status", wide=True),
    Column("message", wrap=True),
)


@click.command("events")
@click.argument("job", required=False)
@click.option("--follow", is_flag=True, help="Keep printing new events.")
@click.option("--after", type=int, help="Only those after this id.")
@click.option(
    "--limit",
    type=click.IntRange(1, 10_000),
    default=1000,
    show_default=True,
    help="At most this many: the latest, or with --after the first.",
)
@app
def command(app: App, *, job: str | None, follow: bool, after: int | None, limit: int) -> int:
    """List what happened, oldest first, from the database alone."""

    async def work() -> int:
        settings = app.settings()
        async with app.reading(settings, there=follow) as store:
            found = await store.views.events(job=job, after=after, most=limit)
            if job is not None and not found:
                await known(store, [job])  # one that is not there has a reason to have no events
            _print(app, found, alone=not follow)
            last = found[-1].id if found else after or 0
            while follow:
                await anyio.sleep(FOLLOW_SECONDS)
                found = await store.views.events(job=job, after=last, most=limit)
                _print(app, found, alone=False)
                last = found[-1].id if found else last
        return 0

    return run(work)


def _print(app: App, events: Sequence[Event], *, alone: bool) -> None:
    if not alone or app.output in ("jsonl", "name"):
        for event in events:
            app.tell(_text(app, event)) if app.for_people else app.out(_text(app, event))
    elif app.output == "json":
        app.out(document({"schema_version": 1, "events": [report.event(event) for event in events]}))
    elif events:
        app.rows(COLUMNS, [_row(event) for event in events])
    else:
        app.say("Nothing has happened yet.")


def _row(event: Event) -> tuple[object, ...]:
    return (event.id, event.timestamp, event.type, event.job, event.account, event.status, event.message)


def _text(app: App, event: Event) -> str:
    if app.output == "table" and sys.stdout.isatty():
        return f"{event.timestamp.astimezone():%b %d %H:%M:%S}  " + "  ".join(
            plain(part) for part in (event.type, event.job, event.message) if part
        )
    if app.for_people:
        moment = stamp(event.timestamp.replace(microsecond=0))
        return "  ".join(plain(part) for part in (event.id, moment, *_row(event)[2:]))
    return str(event.id) if app.output == "name" else line(report.event(event))
