"""`orchestrator resolve JOB`."""

import click

from orchestrator.app.decision import Decision, carry_out
from orchestrator.app.resolve import abandonment, adoption, in_doubt, resending
from orchestrator.app.status import known
from orchestrator.cli import _exit
from orchestrator.cli._app import App, app, run
from orchestrator.cli._ask import confirm
from orchestrator.cli._differences import differences
from orchestrator.cli._engine import opened
from orchestrator.cli._follow import Progress
from orchestrator.cli._text import age, count, plain
from orchestrator.core.run import Run
from orchestrator.worker.engine import Engine


@click.command("resolve")
@click.argument("job")
@click.option("--adopt", "remote_id", metavar="ID", help="This fine-tune is it.")
@click.option("--resend", is_flag=True, help="It was not made: send it again, as another attempt.")
@click.option("--abandon", is_flag=True, help="Give it up.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@app
def command(app: App, *, job: str, remote_id: str | None, resend: bool, abandon: bool, yes: bool) -> int:
    """Decide what to do about a run whose answer was lost.

    The daemon looks for it; this is for what it could not find, or found twice. Look at the
    provider's own console first: --resend buys again what may have been bought.
    """
    if sum((remote_id is not None, resend, abandon)) != 1:
        raise click.UsageError("use one of --adopt ID, --resend, --abandon")

    async def work() -> int:
        manifest = app.manifest()
        async with app.store(manifest.settings) as store:
            found = await in_doubt(store, manifest, job)
            _quote(app, found)
            async with opened(app, manifest, store) as engine:
                asked = await _asked(app, engine, found, remote_id, resend=resend)
                what = f"adopt {remote_id} for" if remote_id else "send again" if resend else "give up"
                if not await confirm(app, f"{what.capitalize()} {job}, attempt {found.attempt}?", yes=yes):
                    return _exit.DECLINED
                if (await carry_out(engine, asked)).daemon:
                    app.say("Recorded; the daemon will continue with it.")
            Progress(app).show(await known(store, [job]))
            if remote_id is None:
                app.say(
                    f"If {found.account} made it after all, this shows it: orchestrator audit {found.account}"
                )
        return _exit.DONE

    return run(work)


def _quote(app: App, found: Run) -> None:
    app.say(f"{found.job}, attempt {found.attempt}, marker {found.marker}, run {found.id}")
    looked = count(found.looks, "time")
    app.say(f"  sent {age(found.sent_at)} ago to {found.account}; looked for {looked}, not found")
    if found.message:
        app.say(f"  {plain(found.message)}")


async def _asked(app: App, engine: Engine, found: Run, remote_id: str | None, *, resend: bool) -> Decision:
    if remote_id is None:
        return resending(engine.manifest, found) if resend else abandonment(found)
    asked, there = await adoption(engine, found, remote_id)
    app.say(f"{found.account} has {remote_id}: {plain(there.provider_status)}, {plain(there.name)}")
    differences(app, found.spec, asked.there)
    return asked
