"""`orchestrator cancel JOB`."""

import click

from orchestrator.app.cancel import cancellation
from orchestrator.app.decision import Decided, carry_out
from orchestrator.cli import _exit
from orchestrator.cli._app import App, app, run
from orchestrator.cli._ask import confirm
from orchestrator.cli._engine import opened
from orchestrator.cli._text import plain


@click.command("cancel")
@click.argument("job")
@click.option("--delete", is_flag=True, help="Delete it at the provider.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@app
def command(app: App, *, job: str, delete: bool, yes: bool) -> int:
    """Ask the provider to stop a job's run. It never deletes, unless told to.

    If a provider has no cancel, it says so, and that billing continues.
    """

    async def work() -> int:
        manifest, how = app.manifest(), "delete" if delete else "cancel"
        async with app.store(manifest.settings) as store:
            asked = await cancellation(store, manifest, job, "delete" if delete else "cancel")
            for note in asked.notes:
                app.say(note)
            target = asked.run.remote_id or asked.run.marker
            question = f"{how.capitalize()} {job} ({target}, {asked.run.status})?"
            if not await confirm(app, question, yes=yes):
                return _exit.DECLINED
            async with opened(app, manifest, store) as engine:
                decided = await carry_out(engine, asked)
            app.say(f"{job}: {_stands(decided, how)}")
        return _exit.DONE

    return run(work)


def _stands(decided: Decided, how: str) -> str:
    """Say how it stands: the status alone would read as if nobody had asked."""
    found = decided.document.job
    if decided.daemon and not found.status.final:
        return f"{found.status}: {how} requested; the daemon will do it"
    if found.message:
        return f"{found.status}: {plain(found.message)}"
    return found.status if found.status.final else f"{found.status}: {how} requested"
