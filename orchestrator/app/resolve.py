"""A person's verdict on a lost answer: this one is it, send it again, or give it up."""

from dataclasses import replace
from datetime import datetime
from functools import partial

from orchestrator.app.decision import Decision
from orchestrator.app.status import known
from orchestrator.config.manifest import Manifest
from orchestrator.core.changeset import new_run
from orchestrator.core.job import Job
from orchestrator.core.run import Run, Snapshot, Status
from orchestrator.core.transition import Transition, bind, finish
from orchestrator.errors import Missing, UsageError
from orchestrator.providers.registry import registry
from orchestrator.store.commit import make_id
from orchestrator.store.store import Store
from orchestrator.worker.engine import Engine


async def in_doubt(store: Store, manifest: Manifest, job: str) -> Run:
    """Return the run of `job` that a person may decide about; raises `UsageError` where there is none."""
    (standing,) = await known(store, [job], manifest.jobs)
    run = standing.run
    if run is None or run.status is not Status.IN_DOUBT:
        state = run.status if run else "not sent"
        raise UsageError(f"{job} is not in doubt: it is {state}", hint=f"orchestrator why {job}")
    return run


async def adoption(engine: Engine, run: Run, remote_id: str) -> tuple[Decision, Snapshot]:
    """Say what binding `run` to `remote_id` would take in; raises `UsageError` where that is not there."""
    snapshot = await engine.read(run.account, remote_id)
    if snapshot is None:
        raise UsageError(f"{run.account} has no {remote_id}", hint=f"orchestrator audit {run.account}")
    record = partial(_adopt, run, remote_id)
    return Decision(job=run.job, run=run, record=record, there=snapshot.identity), snapshot


async def _adopt(run: Run, remote_id: str, engine: Engine) -> Run:
    snapshot = await engine.read(run.account, remote_id)  # it may have changed while a person was asked
    if snapshot is None:
        raise Missing(f"{run.account} has no {remote_id}")
    bound = await engine.store.work.bound(run.account, [remote_id])
    if remote_id in bound:
        raise UsageError(f"{remote_id} already belongs to {bound[remote_id].job}")
    return await engine.store.decisions.move(
        run, lambda run, now: bind(run, snapshot, now).released(), engine.routing
    )


def abandonment(run: Run) -> Decision:
    """Give `run` up; should the provider have it after all, `audit` shows it."""
    return Decision(job=run.job, run=run, record=partial(_abandon, run))


async def _abandon(run: Run, engine: Engine) -> Run:
    given_up = partial(finish, status=Status.CANCELLED, message="abandoned by a person")
    return await engine.store.decisions.move(run, given_up, engine.routing)


def resending(manifest: Manifest, run: Run) -> Decision:
    """Give `run` up for another attempt; raises `UsageError` where the files no longer ask for its work."""
    job = manifest.jobs.get(run.job)
    if job is None or (job.account, job.fingerprint) != (run.account, run.fingerprint):
        raise UsageError(
            f"the job files no longer ask for this work of {run.job}",
            hint=f"orchestrator resolve {run.job} --abandon",
        )
    return Decision(job=run.job, run=run, record=partial(_resend, run, job))


async def _resend(run: Run, job: Job, engine: Engine) -> Run:
    now, steps = await engine.store.now(), registry()[job.kind].steps
    again = new_run(job, run.project, run.attempt + 1, now, make_id("run"), steps)
    message = f"given up by a person, sent again as attempt {again.attempt}"

    def step(run: Run, now: datetime) -> Transition:
        return replace(finish(run, now, status=Status.CANCELLED, message=message), then=again)

    await engine.store.decisions.move(run, step, engine.routing)
    return again
