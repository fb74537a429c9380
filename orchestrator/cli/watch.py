"""`orchestrator watch`."""

import sys

import anyio
import click

from orchestrator.cli._app import App, app, run
from orchestrator.cli._wait import Progress, known
from orchestrator.cli.status import text
from orchestrator.engine import report

LOOK_SECONDS = 1.0
HOME_AND_CLEAR = "\x1b[H\x1b[J"


@click.command("watch")
@click.argument("jobs", nargs=-1, metavar="[JOB]...")
@app
def command(app: App, *, jobs: tuple[str, ...]) -> int:
    """Follow the jobs as they move, from the database alone, until Ctrl-C.

    On a terminal the table stays in place; elsewhere there is a line for each change.
    """

    async def work() -> int:
        settings = app.settings()
        async with app.store(settings) as store:
            if jobs:
                await known(store, jobs)
            progress = Progress(app)
            while True:
                if sys.stdout.isatty():
                    found = await report.status(store, settings, jobs or None)
                    app.out(HOME_AND_CLEAR + text(found, await store.outbox.unsettled()))
                else:
                    progress.show(await store.views.standings(jobs or None))
                await anyio.sleep(LOOK_SECONDS)

    return run(work)
