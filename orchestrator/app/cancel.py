"""Asking for the end of a job's run."""

from dataclasses import replace
from functools import partial
from typing import Literal

from orchestrator.app.decision import Decision
from orchestrator.app.status import known
from orchestrator.config.manifest import Manifest
from orchestrator.core.run import Run, Status
from orchestrator.errors import UsageError
from orchestrator.providers.registry import registry
from orchestrator.store.store import Store
from orchestrator.worker.engine import Engine

How = Literal["cancel", "delete"]


async def cancellation(store: Store, manifest: Manifest, job: str, how: How = "cancel") -> Decision:
    """Say what cancelling `job` would end; raises `UsageError` where there is nothing to cancel."""
    (standing,) = await known(store, [job], manifest.jobs)
    run = standing.run
    if run is None or run.status.final:
        state = run.status if run else "none"
        raise UsageError(f"{job} has no run that can be cancelled ({state})")
    return Decision(job=job, run=run, record=partial(_record, run, how), notes=caveats(run, how))


async def _record(run: Run, how: How, engine: Engine) -> Run:
    after = await engine.store.decisions.cancel(run, how, engine.routing)
    return after if after.status.final else replace(after, cancel=how)


def caveats(run: Run, how: How) -> tuple[str, ...]:
    """Say what the provider of `run` cannot do, where it has neither `cancel` nor `delete` as asked."""
    if run.status is Status.PENDING:
        return ()
    kind = registry().get(run.kind)
    if kind is None:
        return (
            f"No provider of kind {run.kind} is installed: the request is recorded, but billing continues.",
        )
    if kind.can(how):
        return ()
    what = "no way to delete" if how == "delete" else "no cancel"
    said = [f"{kind.title} has {what}: the request is recorded, but billing continues."]
    if how == "cancel" and kind.can("delete"):
        said.append(f"`orchestrator cancel {run.job} --delete` deletes it there instead.")
    return tuple(said)
