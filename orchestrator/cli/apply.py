"""`orchestrator apply`."""

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import click

from orchestrator.app.apply import AppliedDocument, apply
from orchestrator.app.plan import document, preview
from orchestrator.app.status import known, status
from orchestrator.app.submit import submit
from orchestrator.cli import _exit
from orchestrator.cli._app import App, app, run
from orchestrator.cli._ask import confirm
from orchestrator.cli._duration import DURATION
from orchestrator.cli._engine import opened
from orchestrator.cli._follow import Progress
from orchestrator.cli._planfile import load
from orchestrator.cli._text import count, plain, plan_text
from orchestrator.cli._wait import denied
from orchestrator.core.run import Reason, Status
from orchestrator.store.opening import daemon_runs
from orchestrator.store.store import Store
from orchestrator.worker.engine import Engine


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
            plan = await preview(store, manifest, again=anew)
            if saved is not None:
                saved.check(plan, manifest)
            (app.tell if app.for_people else app.say)(plan_text(plan))
            if not plan.empty and not await confirm(app, "Do it?", yes=yes):
                return _exit.DECLINED
            async with opened(app, manifest, store) as engine:
                recorded = await apply(engine, plan, again=anew)
                jobs = recorded.jobs
                if jobs and not recorded.runs:
                    app.say(f"Continuing with {count(len(jobs), 'job')} from earlier: {', '.join(jobs[:5])}")
                if not plan.empty and await daemon_runs(store):
                    app.say("Recorded; the daemon will submit it." if recorded.runs else "Recorded.")
                code = await _carry_out(app, engine, jobs, wait=wait, timeout=timeout)
            if app.output in ("json", "jsonl"):
                after = vars(document(plan)) | vars(await status(store, manifest.settings))
                app.document(AppliedDocument(**after))
            return code

    return run(work)


async def _carry_out(
    app: App, engine: Engine, jobs: Sequence[str], *, wait: bool, timeout: float | None
) -> int:
    if wait:
        from orchestrator.cli._attend import see_through

        again = "orchestrator apply --wait"
        return await see_through(
            app, engine.store, lambda: nullcontext(engine), jobs, timeout=timeout, again=again
        )
    if await submit(engine, *engine.manifest.accounts):
        return _exit.DONE
    return await _told(app, engine.store, jobs)


async def _told(app: App, store: Store, jobs: Sequence[str]) -> int:
    """Say how the jobs stand after what could be sent was sent."""
    standings = await known(store, jobs)
    Progress(app).show(standings)
    troubles = {account.name: account.last_error for account in await store.accounts.all()}
    code, waiting = _exit.DONE, []
    for found in (standing.run for standing in standings):
        if found is None or found.reason is Reason.LIMIT:
            continue
        trouble = troubles.get(found.account)
        if found.status is Status.PENDING and (found.message or trouble):
            if not found.message:  # which is shown already
                app.say(f"{found.job} was not sent: {plain(trouble)}")
            if found.reason is Reason.CREDENTIALS:
                waiting.append(found.account)
            code = _exit.FAILED
        elif found.status is Status.FAILED:
            code = _exit.FAILED
    if waiting:
        app.say(await denied(store, waiting))
        return _exit.CREDENTIALS
    if jobs and code == _exit.DONE:
        app.say("No daemon is watching them: `orchestrator up` polls and fires hooks.")
    return code
