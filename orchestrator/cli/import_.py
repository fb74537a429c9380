"""`orchestrator import JOB REMOTE_ID`."""

import click

from orchestrator.app.decision import carry_out
from orchestrator.app.import_ import binding, declared
from orchestrator.cli import _exit
from orchestrator.cli._app import App, app, run
from orchestrator.cli._ask import confirm
from orchestrator.cli._differences import differences
from orchestrator.cli._engine import opened
from orchestrator.cli._text import plain


@click.command("import")
@click.argument("job")
@click.argument("remote_id")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@app
def command(app: App, *, job: str, remote_id: str, yes: bool) -> int:
    """Bind a declared job to an existing fine-tune, so that it is not bought again.

    REMOTE_ID is the provider's id, or the id of a run that no job file declares any more.
    """

    async def work() -> int:
        manifest = app.manifest()
        wanted = declared(manifest, job)
        async with app.store(manifest.settings) as store, opened(app, manifest, store) as engine:
            asked = await binding(engine, wanted, remote_id)
            for note in asked.notes:
                app.say(plain(note))
            differences(app, wanted.spec, asked.there)
            if not await confirm(app, f"Bind {job} to it?", yes=yes):
                return _exit.DECLINED
            bound = (await carry_out(engine, asked)).document.job
            app.say(f"{job} is now bound to {bound.remote_id or bound.run_id}.")
        return _exit.DONE

    return run(work)
