"""`orchestrator apply`."""

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import anyio
import click

from orchestrator import late
from orchestrator.app import report
from orchestrator.app.reconcile import apply, preview
from orchestrator.app.settled import arrived
from orchestrator.cli._app import App, app, run
from orchestrator.cli._ask import confirm
from orchestrator.cli._duration import DURATION
from orchestrator.cli._follow import Progress
from orchestrator.cli._planfile import load
from orchestrator.cli._text import count, document, plain, plan_text
from orchestrator.cli._wait import CREDENTIALS, denied, known
from orchestrator.config.manifest import Manifest
from orchestrator.core.changeset import Changeset
from orchestrator.core.run import Reason, Status
from orchestrator.providers.registry import registry
from orchestrator.store.store import Store
from orchestrator.worker.engine import Engine

DECLINED = 3


@click.command("apply")
@click.argument("planfile", required=False, type=click.Path(path_type=Path))
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.option("--wait", is_flag=True, help="Wait until the jobs of the plan are done.")
@click.option("--timeout", type=DURATION, help="How long to wait, such as 2h30m; the runs continue.")
@click.option("--again", is_flag=True, help="Also buy work that a run no job claims was bought for.")
@app
def command(
    app: App, *, planfile: Path | None, yes: bool, wait: bool, timeout: float | None, again: bool
) -> int:
    """Show the plan, ask, record it, submit.

    If a daemon is running, it only records, and the daemon submits at once. PLANFILE, from `plan --out`,
    is refused if the files or the runs have changed since.
    """
    saved = load(app.cwd / planfile) if planfile is not None else None

    async def work() -> int:
        manifest = app.manifest()
        async with app.store(manifest.settings) as store:
            anew = saved.again if saved else again
            plan = await preview(store, manifest, registry(), again=anew)
            if saved is not None:
                saved.check(plan, manifest)
            (app.tell if app.for_people else app.say)(plan_text(plan))
            if not plan.empty and not await confirm(app, "Do it?", yes=yes):
                return DECLINED
            async with app.engine(manifest, store) as engine:
                writes = await apply(store, engine.manifest, registry(), plan, engine.routing, again=anew)
                await store.accounts.reconsider(*engine.manifest.accounts)
                names = await _concerned(store, writes, manifest)
                if names and not writes.runs:
                    app.say(
                        f"Continuing with {count(len(names), 'job')} from earlier: {', '.join(names[:5])}"
                    )
                daemon = await app.daemon_runs(store)
                if daemon and not plan.empty:
                    app.say("Recorded; the daemon will submit it." if writes.runs else "Recorded.")
                code = await _carry_out(app, engine, names, daemon=daemon, wait=wait, timeout=timeout)
            if app.output in ("json", "jsonl"):
                app.out(document(report.plan(plan) | await report.status(store, manifest.settings)))
            return code

    return run(work)


async def _concerned(store: Store, writes: Changeset, manifest: Manifest) -> Sequence[str]:
    """Name the jobs that the plan started, or else those that still wait or run."""
    if writes.runs:
        return [run.job for run in writes.runs]
    standings = await store.views.standings(list(manifest.jobs))
    return [one.record.name for one in standings if one.run is not None and arrived(one, None) is None]


async def _carry_out(
    app: App, engine: Engine, names: Sequence[str], *, daemon: bool, wait: bool, timeout: float | None
) -> int:
    store: Store = engine.store
    if wait:
        from orchestrator.cli._attend import see_through

        again = "orchestrator apply --wait"
        return await see_through(app, store, lambda: nullcontext(engine), names, timeout=timeout, again=again)
    if daemon:
        return 0
    await _submit(engine)
    return await _told(app, store, names)


async def _submit(engine: Engine) -> None:
    """Send what may be sent now; what cannot be is left recorded."""
    await engine.store.leases.end(late("store.owner").alive)

    async def account(name: str) -> None:
        while await engine.send(name):
            pass

    async with anyio.create_task_group() as tasks:
        for name in engine.manifest.accounts:
            tasks.start_soon(account, name)


async def _told(app: App, store: Store, names: Sequence[str]) -> int:
    standings = await known(store, names)
    Progress(app).show(standings)
    troubles = {account.name: account.last_error for account in await store.accounts.all()}
    code, waiting = 0, []
    for found in (standing.run for standing in standings):
        if found is None or found.reason is Reason.LIMIT:
            continue
        trouble = troubles.get(found.account)
        if found.status is Status.PENDING and (found.message or trouble):
            if not found.message:  # which is shown already
                app.say(f"{found.job} was not sent: {plain(trouble)}")
            if found.reason is Reason.CREDENTIALS:
                waiting.append(found.account)
            code = code or 1
        elif found.status is Status.FAILED:
            code = code or 1
    if waiting:
        app.say(await denied(store, waiting))
        return CREDENTIALS
    if names and code == 0:
        app.say("No daemon is watching them: `orchestrator up` polls and fires hooks.")
    return code
