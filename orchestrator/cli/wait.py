"""`orchestrator wait`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import click

from orchestrator.app.status import known, status
from orchestrator.cli._app import App, app, run
from orchestrator.cli._duration import DURATION
from orchestrator.cli._engine import opened
from orchestrator.core.run import Status
from orchestrator.store.store import Store
from orchestrator.worker.engine import Engine


@click.command("wait")
@click.argument("jobs", nargs=-1, required=True, metavar="JOB...")
@click.option(
    "--for", "wanted", type=click.Choice([str(status) for status in Status]), help="The status to wait for."
)
@click.option("--timeout", type=DURATION, help="How long to wait, such as 2h30m; then exit 3.")
@app
def command(app: App, *, jobs: tuple[str, ...], wanted: str | None, timeout: float | None) -> int:
    """Wait until jobs are done, or in a status.

    If no daemon is running, it meanwhile submits what was applied, polls and fires hooks. Exit code 5: one
    failed or needs a person; 4: only missing or refused credentials keep the rest; 3: timed out.
    """

    async def work() -> int:
        from orchestrator.cli._attend import see_through

        settings = app.settings()
        with app.reading(settings) as store:
            await known(store, jobs)  # before a database is made to look for them
        async with app.store(settings) as store:
            code = await see_through(
                app,
                store,
                lambda: _engine(app, store),
                jobs,
                wanted=Status(wanted) if wanted else None,
                timeout=timeout,
            )
            if not app.for_people:
                app.document(await status(store, settings, jobs))
            return code

    return run(work)


@asynccontextmanager
async def _engine(app: App, store: Store) -> AsyncIterator[Engine]:
    """Open what it takes to do a daemon's work."""
    app.say("No daemon is running, so this command asks the providers itself.")
    async with opened(app, app.manifest(), store) as engine:
        yield engine
