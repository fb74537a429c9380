"""`orchestrator events`."""

import sys
from functools import partial

import anyio
import click

from orchestrator.app.documents import as_json
from orchestrator.app.history import EventDocument, EventsDocument, events
from orchestrator.app.status import known
from orchestrator.cli import _exit
from orchestrator.cli._app import App, app, at_once, line, run
from orchestrator.cli._table import Column
from orchestrator.cli._text import plain
from orchestrator.config.manifest import Settings
from orchestrator.core.delivery import stamp

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

    settings = app.settings()
    if follow:
        return run(partial(_follow, app, settings, job, after, limit))
    with app.reading(settings) as store:
        found = at_once(events(store, job=job, after=after, most=limit))
        if job is not None and not found.events:
            at_once(known(store, [job]))  # one that is not there has a reason to have no events
    _print(app, EventsDocument(events=found.events))
    return _exit.DONE


async def _follow(app: App, settings: Settings, job: str | None, after: int | None, limit: int) -> int:
    await app.until_recorded(settings)
    with app.reading(settings, here=False) as store:
        found = await events(store, job=job, after=after, most=limit)
        if job is not None and not found.events:
            await known(store, [job])
        while True:
            for event in found.events:
                (app.tell if app.for_people else app.out)(_line(app, event))
            await anyio.sleep(FOLLOW_SECONDS)
            found = await events(store, job=job, after=found.next, most=limit)


def _print(app: App, found: EventsDocument) -> None:
    if app.listed(found, found.events, _id):
        return
    if found.events:
        app.rows(COLUMNS, [_row(event) for event in found.events])
    else:
        app.say("Nothing has happened yet.")


def _id(event: EventDocument) -> int:
    return event.id


def _row(event: EventDocument) -> tuple[object, ...]:
    return (event.id, event.timestamp, event.type, event.job, event.provider, event.status, event.message)


def _line(app: App, event: EventDocument) -> str:
    """Write one event on a line of its own, while more may follow."""
    if app.output == "table" and sys.stdout.isatty():
        return f"{event.timestamp.astimezone():%b %d %H:%M:%S}  " + "  ".join(
            plain(part) for part in (event.type, event.job, event.message) if part
        )
    if app.for_people:
        moment = stamp(event.timestamp.replace(microsecond=0))
        return "  ".join(plain(part) for part in (event.id, moment, *_row(event)[2:]))
    return str(event.id) if app.output == "name" else line(as_json(event))
