"""What a person may decide about a known job: to end its run, to buy another attempt."""

from orchestrator.config.manifest import Manifest
from orchestrator.core.changeset import new_run
from orchestrator.core.job import Job
from orchestrator.core.run import Run, Status
from orchestrator.errors import UsageError
from orchestrator.providers.registry import registry
from orchestrator.store.commit import make_id
from orchestrator.store.store import Store
from orchestrator.store.views import Standing


def to_end(standing: Standing) -> Run:
    """Return the run of a job that may be cancelled; raises `UsageError` where there is none."""
    run = standing.run
    if run is None or run.status.final:
        state = run.status if run else "none"
        raise UsageError(f"{standing.record.name} has no run that can be cancelled ({state})")
    return run


def caveats(run: Run, how: str) -> tuple[str, ...]:
    """Say what the provider of `run` cannot do, where it has neither `cancel` nor `delete` as asked."""
    kind = registry()[run.kind]
    if run.status is Status.PENDING or kind.can(how):
        return ()
    what = "no way to delete" if how == "delete" else "no cancel"
    said = [f"{kind.title} has {what}: the request is recorded, but billing continues."]
    if how == "cancel" and kind.can("delete"):
        said.append(f"`orchestrator cancel {run.job} --delete` deletes it there instead.")
    return tuple(said)


def to_repeat(standing: Standing, manifest: Manifest) -> tuple[Job, Run]:
    """Return a job and the run that another attempt would follow; raises `UsageError` where none may."""
    name, run = standing.record.name, standing.run
    job = manifest.jobs.get(name)
    if job is None:
        raise UsageError(f"no job file declares {name}", hint="put it back, then retry")
    if run is None or not run.status.final or run.status is Status.SUCCEEDED:
        state = run.status if run else "never sent"
        raise UsageError(f"{name} is {state}: only a failed, cancelled or lost run can be retried")
    if (job.account, job.fingerprint) != (run.account, run.fingerprint):
        raise UsageError(f"the spec of {name} has changed since", hint="orchestrator apply")
    return job, run


async def repeat(store: Store, job: Job, before: Run) -> Run:
    """Record the attempt after `before`; raises `UsageError` where another one was quicker."""
    steps = registry()[job.kind].steps
    again = new_run(job, store.project, before.attempt + 1, await store.now(), make_id("run"), steps)
    await store.decisions.add(again, beside=before)
    return again
