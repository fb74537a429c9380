"""`orchestrator import JOB REMOTE_ID`."""

from dataclasses import replace

import click

from orchestrator.cli._app import App, app, run
from orchestrator.cli._ask import confirm
from orchestrator.cli._text import plain
from orchestrator.cli._wait import differences
from orchestrator.core.changeset import new_run
from orchestrator.core.job import Job
from orchestrator.core.plan import Record
from orchestrator.core.run import Run, Status
from orchestrator.core.transition import bind
from orchestrator.errors import Missing, UnknownName, UsageError
from orchestrator.store.commit import make_id
from orchestrator.store.store import Store
from orchestrator.worker.engine import Engine

DECLINED = 3


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
        declared = manifest.jobs.get(job)
        if declared is None:
            message, hint = f"no job file declares {job}", "declare it, then import"
            raise UnknownName(message, job, manifest.jobs, hint=hint)
        async with app.store(manifest.settings) as store:
            before = await _before(store, declared)
            ours = await _ours(store, declared, remote_id)
            if ours is not None and before is None:
                return await _take_over(app, store, declared, ours, yes=yes)
            if ours is not None:
                raise _stands_by(declared, ours)
            attempt = before.attempt + 1 if before is not None else 1
            async with app.engine(manifest, store) as engine:
                return await _adopt(app, engine, declared, remote_id, attempt, yes=yes)

    return run(work)


async def _before(store: Store, job: Job) -> Run | None:
    """Return the run that the import would follow; raises `UsageError` where the job has no need of one."""
    for standing in await store.views.standings([job.name]):
        run = standing.run
        if run is None or (run.account, run.fingerprint) != (job.account, job.fingerprint):
            continue
        # What was given up may turn up after all, and nothing else could take it in.
        if not run.status.final or run.status is Status.SUCCEEDED:
            raise _stands_by(job, run)
        return run
    return None


def _stands_by(job: Job, run: Run) -> UsageError:
    hint = f"orchestrator resolve {job.name} --adopt ID" if run.status is Status.IN_DOUBT else None
    return UsageError(
        f"{job.name} already has a run of this work: {run.remote_id or run.id} ({run.status})", hint=hint
    )


async def _ours(store: Store, job: Job, remote_id: str) -> Run | None:
    found = (await store.work.bound(job.account, [remote_id])).get(remote_id)
    found = found or await store.work.by_id(remote_id)
    if found is None:
        return None
    managed = {one.record.name for one in await store.views.standings() if one.managed}
    if found.job in managed and found.job != job.name:
        raise UsageError(f"{remote_id} belongs to {found.job}, which is declared")
    return found


async def _take_over(app: App, store: Store, job: Job, found: Run, *, yes: bool) -> int:
    app.say(f"{found.remote_id or found.id} of {found.job} is {found.status}.")
    differences(app, job.spec, found.spec)
    if not await confirm(app, f"Bind {job.name} to it?", yes=yes):
        return DECLINED
    await store.decisions.take_over(_record(job), found)
    app.say(f"{job.name} is now bound to {found.remote_id or found.id}.")
    return 0


async def _adopt(app: App, engine: Engine, job: Job, remote_id: str, attempt: int, *, yes: bool) -> int:
    snapshot = await engine.read(job.account, remote_id)
    if snapshot is None:
        raise Missing(f"{job.account} has no {remote_id}")
    app.say(f"{job.account} has {remote_id}: {plain(snapshot.provider_status)}.")
    differences(app, job.spec, snapshot.identity)
    if not await confirm(app, f"Bind {job.name} to it?", yes=yes):
        return DECLINED
    now = await engine.store.now()
    run = replace(
        new_run(job, engine.store.project, attempt, now, make_id("run")), sent_at=snapshot.created_at or now
    )
    await engine.store.decisions.insert_bound(_record(job), bind(run, snapshot, now), engine.routing)
    app.say(f"{job.name} is now bound to {remote_id}.")
    return 0


def _record(job: Job) -> Record:
    return Record(
        name=job.name, account=job.account, kind=job.kind, fingerprint=job.fingerprint, policy=job.policy
    )
