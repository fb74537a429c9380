"""`orchestrator retry JOB`."""

import click

from orchestrator.app.decide import repeat, to_repeat
from orchestrator.cli._app import App, app, run
from orchestrator.cli._ask import confirm
from orchestrator.cli._follow import Progress
from orchestrator.cli._wait import known

DECLINED = 3


@click.command("retry")
@click.argument("job")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@app
def command(app: App, *, job: str, yes: bool) -> int:
    """Buy another attempt of a job whose run failed, was cancelled or is lost."""

    async def work() -> int:
        manifest = app.manifest()
        async with app.store(manifest.settings) as store:
            declared, before = to_repeat((await known(store, [job], manifest.jobs))[0], manifest)
            attempt = before.attempt + 1
            if not await confirm(app, f"Buy attempt {attempt} of {job} at {before.account}?", yes=yes):
                return DECLINED
            await repeat(store, declared, before)
            await store.accounts.reconsider(before.account)
            if await app.daemon_runs(store):
                app.say("Recorded; the daemon will submit it.")
                return 0
            async with app.engine(manifest, store) as engine:
                while await engine.send(before.account):
                    pass
            Progress(app).show(await known(store, [job]))
        return 0

    return run(work)
