"""Binding a declared job to a fine-tune that exists, so that it is not bought again."""

from dataclasses import replace
from functools import partial

from orchestrator.app.decision import Decision
from orchestrator.config.manifest import Manifest
from orchestrator.core.changeset import new_run
from orchestrator.core.job import Job
from orchestrator.core.plan import AppliedJob
from orchestrator.core.run import Run, Snapshot, Status
from orchestrator.core.transition import bind
from orchestrator.errors import Missing, UnknownName, UsageError
from orchestrator.store.commit import make_id
from orchestrator.store.store import Store
from orchestrator.worker.engine import Engine


def declared(manifest: Manifest, name: str) -> Job:
    """Return the job that is to be bound; raises `UnknownName` where no file declares it."""
    if name not in manifest.jobs:
        message, hint = f"no job file declares {name}", "declare it, then import"
        raise UnknownName(message, name, manifest.jobs, hint=hint)
    return manifest.jobs[name]


async def binding(engine: Engine, job: Job, remote_id: str) -> Decision:
    """Say what `job` would be bound to: a run that no job claims any more, or what the provider has.

    Raises `UsageError` where the job has a run of this work, or where another job has `remote_id`.
    """
    before = await _before(engine.store, job)
    ours = await _ours(engine.store, job, remote_id)
    if ours is not None and before is not None:
        raise _has_a_run(job, ours)
    if ours is not None:
        note = f"{ours.remote_id or ours.id} of {ours.job} is {ours.status}."
        record = partial(_take_over, job, ours)
        return Decision(job=job.name, run=ours, record=record, sends=False, notes=(note,), there=ours.spec)
    snapshot = await engine.read(job.account, remote_id)
    if snapshot is None:
        raise Missing(f"{job.account} has no {remote_id}")
    now = await engine.store.now()
    attempt = before.attempt + 1 if before is not None else 1
    run = new_run(job, engine.store.project, attempt, now, make_id("run"))
    run = replace(run, sent_at=snapshot.created_at or now)
    note = f"{job.account} has {remote_id}: {snapshot.provider_status or '-'}."
    record = partial(_adopt, job, run, snapshot)
    return Decision(job=job.name, run=run, record=record, sends=False, notes=(note,), there=snapshot.identity)


async def _before(store: Store, job: Job) -> Run | None:
    """Return the run that the import would follow; raises `UsageError` where the job needs none."""
    for standing in await store.views.standings([job.name]):
        run = standing.run
        if run is None or (run.account, run.fingerprint) != (job.account, job.fingerprint):
            continue
        # What was given up may turn up after all, and nothing else could take it in.
        if not run.status.final or run.status is Status.SUCCEEDED:
            raise _has_a_run(job, run)
        return run
    return None


def _has_a_run(job: Job, run: Run) -> UsageError:
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


async def _take_over(job: Job, found: Run, engine: Engine) -> Run:
    await engine.store.decisions.take_over(_record(job), found)
    return replace(found, job=job.name)


async def _adopt(job: Job, run: Run, snapshot: Snapshot, engine: Engine) -> Run:
    bound = bind(run, snapshot, await engine.store.now())
    await engine.store.decisions.insert_bound(_record(job), bound, engine.routing)
    return bound.run


def _record(job: Job) -> AppliedJob:
    return AppliedJob(
        name=job.name, account=job.account, kind=job.kind, fingerprint=job.fingerprint, policy=job.policy
    )
