"""Buying another attempt of a job."""

from functools import partial

from orchestrator.app.decision import Decision
from orchestrator.app.status import known
from orchestrator.config.manifest import Manifest
from orchestrator.core.changeset import new_run
from orchestrator.core.job import Job
from orchestrator.core.run import Run, Status
from orchestrator.errors import UsageError
from orchestrator.providers.registry import registry
from orchestrator.store.commit import make_id
from orchestrator.store.store import Store
from orchestrator.worker.engine import Engine


async def another_attempt(store: Store, manifest: Manifest, name: str) -> Decision:
    """Say which run another attempt would follow; raises `UsageError` where none may."""
    (standing,) = await known(store, [name], manifest.jobs)
    run, job = standing.run, manifest.jobs.get(name)
    if job is None:
        raise UsageError(f"no job file declares {name}", hint="put it back, then retry")
    if run is None or not run.status.final or run.status is Status.SUCCEEDED:
        state = run.status if run else "never sent"
        raise UsageError(f"{name} is {state}: only a failed, cancelled or lost run can be retried")
    if (job.account, job.fingerprint) != (run.account, run.fingerprint):
        raise UsageError(f"the spec of {name} has changed since", hint="orchestrator apply")
    return Decision(job=name, run=run, record=partial(_record, job, run))


async def _record(job: Job, before: Run, engine: Engine) -> Run:
    store, steps = engine.store, registry()[job.kind].steps
    again = new_run(job, store.project, before.attempt + 1, await store.now(), make_id("run"), steps)
    await store.decisions.add(again, beside=before)
    return again
