"""`orchestrator retry JOB`."""

import click

from orchestrator.app.decision import carry_out
from orchestrator.app.retry import another_attempt
from orchestrator.app.status import known
from orchestrator.cli import _exit
from orchestrator.cli._app import App, app, run
from orchestrator.cli._ask import confirm
from orchestrator.cli._engine import opened
from orchestrator.cli._follow import Progress


@click.command("retry")
@click.argument("job")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@app
def command(app: App, *, job: str, yes: bool) -> int:
    """Buy another attempt of a job whose run failed, was cancelled or is lost."""

    async def work() -> int:
        manifest = app.manifest()
        async with app.store(manifest.settings) as store:
            asked = await another_attempt(store, manifest, job)
            question = f"Buy attempt {asked.run.attempt + 1} of {job} at {asked.run.account}?"
            if not await confirm(app, question, yes=yes):
                return _exit.DECLINED
            async with opened(app, manifest, store) as engine:
                decided = await carry_out(engine, asked)
            if decided.daemon:
                app.say("Recorded; the daemon will submit it.")
            else:
                Progress(app).show(await known(store, [job]))
        return _exit.DONE

    return run(work)
