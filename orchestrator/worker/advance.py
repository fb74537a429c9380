"""Calls on runs that the provider has: the steps after create, and requested cancellations."""

from dataclasses import replace
from datetime import datetime
from functools import partial

import anyio

from orchestrator import crashpoint
from orchestrator.core.job import JsonObject
from orchestrator.core.run import Run, Snapshot, Status, next_call
from orchestrator.core.schedule import back_off, put_off
from orchestrator.core.transition import Transition, finish, step_done, step_sent
from orchestrator.errors import LeaseLost, Missing, ProviderError, Rejected
from orchestrator.worker.account import AccountWorker

BATCH = 20


async def advance(worker: AccountWorker) -> int:
    """Make the next call for each run that needs one; returns how many there were."""
    claimed = list(await worker.store.work.claim_calls(worker.name, most=BATCH))
    count = len(claimed)
    try:
        while claimed and not worker.stopping():
            run = claimed[0]
            with worker.sending():
                await (_cancel if next_call(run) == "cancel" else _steps)(worker, run)
            claimed.pop(0)
    finally:
        with anyio.CancelScope(shield=True):
            await worker.store.work.release(claimed)
    return count


async def _steps(worker: AccountWorker, run: Run) -> None:
    """Make the remaining calls, each recorded before and after.

    A call that may have been made already is made again: the driver checks first.
    """
    while (name := run.unfinished) is not None and not run.status.final:
        try:
            run = await worker.move(run, partial(_sent, name=name))
            crashpoint.reach("step-stored")
            with worker.claimed(run):
                snapshot = await worker.provider.step(name, run)
            crashpoint.reach("step-made")
            succeeded = snapshot is not None and snapshot.status is Status.SUCCEEDED
            result = await worker.provider.result(snapshot) if snapshot and succeeded else None
            run = await worker.move(run, partial(_done, name=name, snapshot=snapshot, result=result))
        except LeaseLost:
            return
        except Rejected as error:
            await worker.leave(run, partial(finish, status=Status.FAILED, message=error.message))
            return
        except ProviderError as error:
            await worker.leave(run, partial(_later, error=error, jitter=worker.jitter()))
            if isinstance(error, Missing):
                return  # the next complete listings tell whether it is lost
            raise
    await worker.store.work.release([run])


def _sent(run: Run, now: datetime, *, name: str) -> Transition:
    return step_sent(run, name)


def _done(
    run: Run, now: datetime, *, name: str, snapshot: Snapshot | None, result: JsonObject | None
) -> Transition:
    return step_done(run, name, snapshot, now, result=result)


def _later(run: Run, now: datetime, *, error: ProviderError, jitter: float) -> Transition:
    due = put_off(back_off(1, now, jitter=jitter, retry_after=error.retry_after), now)
    return Transition(before=run, run=replace(run, message=error.message, due_at=due)).released()


async def _cancel(worker: AccountWorker, run: Run) -> None:
    """Ask the provider to end `run`; a later poll shows whether it did."""
    draft = run.provider_status in worker.provider.drafts
    if draft and run.unfinished and run.steps[run.unfinished] == "todo":
        await worker.leave(
            run, partial(finish, status=Status.CANCELLED, message="cancelled before it was started")
        )
        return
    how = run.cancel or "cancel"
    if not worker.provider.can(how):
        what = "way to delete" if how == "delete" else "cancel"
        message = f"{how} requested, still billing: {worker.provider.title} has no {what}"
        await worker.leave(run, partial(_asked, message=message))
        return
    assert run.remote_id is not None  # noqa: S101 - only bound runs are claimed for calls
    try:
        with worker.claimed(run):
            await (worker.provider.delete if how == "delete" else worker.provider.cancel)(run.remote_id)
    except Missing:
        pass  # there is nothing left to end, which is what a deletion wants
    except Rejected as error:
        await worker.leave(run, partial(_asked, message=f"{how} refused: {error.message}"))
        return
    except ProviderError as error:
        await worker.leave(run, partial(_later, error=error, jitter=worker.jitter()))
        raise
    if how == "delete":
        await worker.leave(run, partial(finish, status=Status.CANCELLED, message="deleted at the provider"))
    else:
        await worker.leave(
            run, partial(_asked, message="cancel requested; the provider has not confirmed it yet")
        )


def _asked(run: Run, now: datetime, *, message: str) -> Transition:
    return Transition(before=run, run=replace(run, cancel_sent=True, message=message, updated_at=now))
