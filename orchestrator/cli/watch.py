"""`orchestrator watch`."""

import sys

import anyio
import click

from orchestrator.app.status import known, status
from orchestrator.cli._app import App, app, run
from orchestrator.cli._follow import Following
from orchestrator.cli.status import daemon, notes

LOOK_SECONDS = 1.0


@click.command("watch")
@click.argument("jobs", nargs=-1, metavar="[JOB]...")
@app
def command(app: App, *, jobs: tuple[str, ...]) -> int:
    """Follow the jobs as they change, from the database alone, until Ctrl-C.

    On a terminal the table stays in place; elsewhere there is a line for each change.
    """

    async def work() -> int:
        settings = app.settings()
        if not jobs:
            await app.until_recorded(settings)
        with app.reading(settings, here=False) as store:
            if jobs:
                await known(store, jobs)
            usual = await store.views.usual()
            with Following(app, usual, again="orchestrator watch", stream=sys.stdout) as following:
                while True:
                    standings = await store.views.standings(jobs or None)
                    found = await status(store, settings, jobs or None)
                    said = [daemon(found.daemon), *notes(found, await store.outbox.unsettled())]
                    following.show(standings, said)
                    await anyio.sleep(LOOK_SECONDS)

    return run(work)
