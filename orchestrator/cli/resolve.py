"""`orchestrator resolve JOB`."""

import click

from orchestrator.app.resolve import abandon, adopt, resend
from orchestrator.cli._app import App, app, run
from orchestrator.cli._ask import confirm
from orchestrator.cli._follow import Progress
from orchestrator.cli._text import age, count, plain
from orchestrator.cli._wait import differences, known
from orchestrator.core.run import Run, Status
from orchestrator.errors import UsageError
from orchestrator.providers.registry import registry
from orchestrator.worker.engine import Engine

DECLINED = 3


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
            found = (await known(store, [job], manifest.jobs))[0].run
            if found is None or found.status is not Status.IN_DOUBT:
                state = found.status if found else "not sent"
                raise UsageError(f"{job} is not in doubt: it is {state}", hint=f"orchestrator why {job}")
            _quote(app, found)
            async with app.engine(manifest, store) as engine:
                if remote_id is not None:
                    await _quote_there(app, engine, found, remote_id)
                what = f"adopt {remote_id} for" if remote_id else "send again" if resend else "give up"
                if not await confirm(app, f"{what.capitalize()} {job}, attempt {found.attempt}?", yes=yes):
                    return DECLINED
                await _decide(engine, found, remote_id, resend=resend)
                await store.accounts.reconsider(found.account)
                if await app.daemon_runs(store):
                    app.say("Recorded; the daemon will continue with it.")
                else:
                    while await engine.send(found.account):
                        pass
            Progress(app).show(await known(store, [job]))
            if remote_id is None:
                app.say(
                    f"If {found.account} made it after all, this shows it: orchestrator audit {found.account}"
                )
        return 0

    return run(work)


def _quote(app: App, found: Run) -> None:
    app.say(f"{found.job}, attempt {found.attempt}, marker {found.marker}, run {found.id}")
    looked = count(found.looks, "time")
    app.say(f"  sent {age(found.sent_at)} ago to {found.account}; looked for {looked}, not found")
    if found.message:
        app.say(f"  {plain(found.message)}")


async def _quote_there(app: App, engine: Engine, found: Run, remote_id: str) -> None:
    snapshot = await engine.read(found.account, remote_id)
    if snapshot is None:
        raise UsageError(f"{found.account} has no {remote_id}", hint=f"orchestrator audit {found.account}")
    app.say(f"{found.account} has {remote_id}: {plain(snapshot.provider_status)}, {plain(snapshot.name)}")
    differences(app, found.spec, snapshot.identity)


async def _decide(engine: Engine, found: Run, remote_id: str | None, *, resend: bool) -> None:
    if remote_id is not None:
        await adopt(engine, found, remote_id)
    elif resend:
        await _again(engine, found)
    else:
        await abandon(engine, found)


async def _again(engine: Engine, found: Run) -> None:
    job = engine.manifest.jobs.get(found.job)
    if job is None or (job.account, job.fingerprint) != (found.account, found.fingerprint):
        raise UsageError(
            f"the job files no longer ask for this work of {found.job}",
            hint=f"orchestrator resolve {found.job} --abandon",
        )
    await resend(engine, found, job, registry()[found.kind].steps)
