"""`orchestrator cancel JOB`."""

import click

from orchestrator.app.decide import caveats, to_end
from orchestrator.cli._app import App, app, run
from orchestrator.cli._ask import confirm
from orchestrator.cli._text import plain
from orchestrator.cli._wait import known
from orchestrator.core.run import Run, Status

DECLINED = 3


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
        manifest = app.manifest()
        async with app.store(manifest.settings) as store:
            run = to_end((await known(store, [job], manifest.jobs))[0])
            how = "delete" if delete else "cancel"
            for caveat in caveats(run, how):
                app.say(caveat)
            target = run.remote_id or run.marker
            if not await confirm(app, f"{how.capitalize()} {job} ({target}, {run.status})?", yes=yes):
                return DECLINED
            async with app.engine(manifest, store) as engine:
                after = await store.decisions.cancel(run, how, engine.routing)
                await store.accounts.reconsider(run.account)
                daemon = await app.daemon_runs(store)
                if after.status is not Status.CANCELLED and not daemon:
                    await engine.send(run.account)
                    after = (await known(store, [job]))[0].run or after
            app.say(f"{job}: {_stands(after, how, daemon=daemon)}")
        return 0

    return run(work)


def _stands(found: Run, how: str, *, daemon: bool) -> str:
    """Say how it stands: the status alone would read as if nobody had asked."""
    if daemon and not found.status.final:
        return f"{found.status}: {how} requested; the daemon will do it"
    if found.message:
        return f"{found.status}: {plain(found.message)}"
    return found.status if found.status.final else f"{found.status}: {how} requested"
