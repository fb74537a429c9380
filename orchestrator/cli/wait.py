"""`orchestrator wait`."""

import click

from orchestrator.cli._app import App, app, run
from orchestrator.cli._duration import DURATION
from orchestrator.cli._text import document
from orchestrator.cli._wait import settle
from orchestrator.core.run import Status
from orchestrator.engine import report


@click.command("wait")
@click.argument("jobs", nargs=-1, required=True, metavar="JOB...")
@click.option(
    "--for", "wanted", type=click.Choice([str(status) for status in Status]), help="The status to wait for."
)
@click.option("--timeout", type=DURATION, help="How long to wait, such as 2h30m; then exit 3.")
@app
def command(app: App, *, jobs: tuple[str, ...], wanted: str | None, timeout: float | None) -> int:
    """Wait until jobs are done, or in a status. Exit code 5: one failed or needs a person; 3: timed out."""

    async def work() -> int:
        settings = app.settings()
        async with app.reading(settings) as store:
            if not await app.daemon_runs(store):
                app.say("No daemon is running, so nothing will happen: orchestrator up")
            code = await settle(app, store, jobs, wanted=Status(wanted) if wanted else None, timeout=timeout)
            if not app.for_people:
                app.out(document(await report.status(store, settings, jobs)))
            return code

    return run(work)
