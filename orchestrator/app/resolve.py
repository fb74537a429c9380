"""A person's verdict on a lost answer: this one is it, send again, or give up."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial

from orchestrator.core.changeset import new_run
from orchestrator.core.job import Job
from orchestrator.core.run import Run, Status
from orchestrator.core.transition import Transition, bind, finish
from orchestrator.errors import Missing, UsageError
from orchestrator.store.commit import make_id
from orchestrator.worker.engine import Engine


async def adopt(engine: Engine, run: Run, remote_id: str) -> Run:
    """Bind `run` to what the provider holds under `remote_id`."""
    snapshot = await engine.read(run.account, remote_id)
    if snapshot is None:
        raise Missing(f"{run.account} has no {remote_id}")
    bound = await engine.store.work.bound(run.account, [remote_id])
    if remote_id in bound:
        raise UsageError(f"{remote_id} already belongs to {bound[remote_id].job}")
    return await engine.store.decisions.move(
        run, lambda run, now: bind(run, snapshot, now).released(), engine.routing
    )


async def abandon(engine: Engine, run: Run) -> Run:
    """Give `run` up; should the provider have it after all, `audit` shows it."""
    return await engine.store.decisions.move(
        run, partial(finish, status=Status.CANCELLED, message="abandoned by a person"), engine.routing
    )


async def resend(engine: Engine, run: Run, job: Job, steps: Sequence[str]) -> Run:
    """Give `run` up and make the next attempt, which is sent like any other."""
    now = await engine.store.now()
    again = new_run(job, run.project, run.attempt + 1, now, make_id("run"), steps)
    message = f"given up by a person, sent again as attempt {again.attempt}"

    def step(run: Run, now: datetime) -> Transition:
        return replace(finish(run, now, status=Status.CANCELLED, message=message), then=again)

    await engine.store.decisions.move(run, step, engine.routing)
    return again
