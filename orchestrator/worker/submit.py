"""Submitting: list first, store the intent, send once, store the answer (`docs/reliability.md`)."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any, TypeVar

import anyio
import structlog

from orchestrator import crashpoint
from orchestrator.core.run import Reason, Run, Snapshot, Status
from orchestrator.core.schedule import LEAST_THROTTLE, back_off, put_off
from orchestrator.core.transition import Transition, bind, doubt, finish, retreat, send
from orchestrator.errors import (
    Denied,
    LeaseLost,
    NotSent,
    OrchestratorError,
    ProviderError,
    Rejected,
    StoreError,
    Throttled,
)
from orchestrator.providers.request import Request
from orchestrator.store.claim import awake
from orchestrator.store.work import claim_on
from orchestrator.worker.account import AccountWorker, Preflight, Step
from orchestrator.worker.journal import Entry, Page
from orchestrator.worker.match import (
    Match,
    bind_found,
    conflict,
    find_match,
    later_attempts,
    superseded,
)

T = TypeVar("T")

log: structlog.stdlib.BoundLogger = structlog.get_logger("orchestrator.worker")

BATCH = 20
"""Runs that are claimed at a time."""

SEND_SECONDS = 40.0
"""Longest from the intent to the answer, above the exchange's own deadline."""
PATIENCE = (0.1, 0.5, 1, 2, 4, None)
"""Waits, in seconds, for a database that does not take what became of a request; None gives up."""


async def submit(worker: AccountWorker) -> int:
    """Send the runs of this account that may start, and return how many were claimed."""
    claimed = await worker.store.work.claim_sends(
        worker.name, most=BATCH, max_running=worker.options.max_running
    )
    if not claimed:
        return 0
    left = list(claimed)
    try:
        strangers = await _looked(worker, claimed)
        while left and not worker.stopping():
            with worker.sending():
                taken = await _submit_one(worker, left[0], strangers)
            strangers = tuple(item for item in strangers if item.remote_id != taken)
            left.pop(0)
    except ProviderError:
        worker.preflight = None  # whatever it was, the next send is preceded by a listing of its own
        raise
    finally:
        with anyio.CancelScope(shield=True):
            await worker.store.work.release(claimed)
    return len(claimed)


async def _looked(worker: AccountWorker, runs: Sequence[Run]) -> tuple[Snapshot, ...]:
    """Return what no run is bound to, by a complete listing that was begun after `runs` became pending."""
    now = await worker.store.now()
    known = worker.preflight
    if known is not None and known.serves(runs, now):
        return await worker.strangers(known.unbound)  # some may have been bound meanwhile
    crashpoint.reach("before-listing")
    unbound = await worker.strangers(await worker.listing())
    worker.preflight = Preflight(started=now, unbound=unbound)
    return unbound


async def _submit_one(worker: AccountWorker, run: Run, strangers: Sequence[Snapshot]) -> str | None:
    """Send `run` unless the listing shows it already; returns the id that it was bound to from there."""
    known = await find_match(worker, run, strangers)
    later = await later_attempts(worker, run, strangers)
    if known.one is not None:
        crashpoint.reach("marker-found")
        await bind_found(worker, run, known.one)
        return known.one.remote_id
    if known.several:
        await worker.leave(run, partial(conflict, found=known.several))
    elif later:
        await worker.leave(run, superseded)
    else:
        await _send(worker, run)
    return None


async def _send(worker: AccountWorker, run: Run) -> None:
    request = await _resolved(worker, run)
    if request is not None:
        async with worker.journal.opened() as page:
            await _send_once(worker, run, request, page)


async def _resolved(worker: AccountWorker, run: Run) -> Request[Any] | None:
    """Make what is to be sent before the intent is stored: what is missing then puts nothing in doubt."""
    try:
        return await worker.provider.request(run)
    except Rejected as error:
        await worker.leave(run, partial(finish, status=Status.FAILED, message=error.message))
        return None
    except Denied as error:
        await worker.leave(run, _verdict(error, worker.jitter()))
        raise


async def _send_once(worker: AccountWorker, run: Run, request: Request[Any], page: Page) -> None:
    ends = awake() + SEND_SECONDS
    sending = await _intend(worker, run, request)
    if sending is None:
        return
    crashpoint.reach("intent-stored")
    left = ends - awake()
    if left <= 0 or not worker.store.leases.sure(claim_on(sending)):
        await worker.leave(sending, _stood_still)
        return
    try:
        with anyio.fail_after(left), worker.claimed(sending):
            snapshot = await worker.provider.create(request)
        crashpoint.reach("answer-received")
    except Rejected as error:
        await _refused(worker, sending, error)
    except ProviderError as error:
        verdict = _verdict(error, worker.jitter())
        await _stored(lambda: worker.leave(sending, verdict))
        if isinstance(error, Throttled):
            crashpoint.reach("throttled")
        if isinstance(error, NotSent | Throttled | Denied):
            raise  # it holds for whatever else waits for this account
    except (OrchestratorError, OSError, ValueError, TypeError, LookupError, RuntimeError) as error:
        log.exception("run.in_doubt", job=run.job, run=run.id)
        await worker.leave(sending, partial(doubt, message=f"the answer could not be read: {_name(error)}"))
    except anyio.get_cancelled_exc_class():
        with anyio.CancelScope(shield=True):
            await worker.leave(sending, partial(doubt, message="the program stopped during the request"))
        raise
    else:
        await _bind(worker, sending, snapshot, page)


async def _refused(worker: AccountWorker, run: Run, error: Rejected) -> None:
    """Fail a run that the provider refused for good, unless its listing shows it after all."""
    try:
        strangers = await worker.strangers(await worker.listing())
        known = await find_match(worker, run, strangers)
    except ProviderError:
        known = Match()  # the refusal stands by itself
    if known.one is not None:
        await bind_found(worker, run, known.one)
    else:
        await worker.leave(run, partial(finish, status=Status.FAILED, message=error.message))


def _verdict(error: ProviderError, jitter: float) -> Step:
    """Say what a failed create means for its run; anything not named here is in doubt."""

    def step(run: Run, now: datetime) -> Transition:
        match error:
            case Throttled():
                wait = max(timedelta(seconds=error.retry_after or 0), LEAST_THROTTLE)
                return retreat(run, now, reason=None, message=error.message, due_at=put_off(now + wait, now))
            case NotSent():
                due = put_off(back_off(1, now, jitter=jitter, retry_after=error.retry_after), now)
                return retreat(run, now, reason=None, message=error.message, due_at=due)
            case Denied():
                return retreat(run, now, reason=Reason.CREDENTIALS, message=error.message, due_at=now)
            case _:
                log.warning("run.in_doubt", job=run.job, run=run.id, error=error.message)
                return doubt(run, now, message=error.message)

    return step


async def _intend(worker: AccountWorker, run: Run, request: Request[Any]) -> Run | None:
    """Commit that `run` is about to be sent; None if it must not be sent."""

    sent = worker.provider.body(request.unrevealed())

    def step(run: Run, now: datetime) -> Transition:
        crashpoint.reach("storing-intent")
        return send(run, now, request=sent)

    crashpoint.reach("before-intent")
    try:
        return await worker.move(run, step)
    except LeaseLost:
        return None
    except StoreError:
        # It is not known whether the intent was stored, but it is that nothing was sent.
        now = await _stored(lambda: worker.store.work.by_id(run.id))
        if now is not None and now.status is Status.SUBMITTING and now.epoch == run.epoch:
            message = "the database did not answer; nothing was sent"
            await worker.leave(now, lambda run, at: retreat(run, at, reason=None, message=message, due_at=at))
        raise


async def _bind(worker: AccountWorker, run: Run, snapshot: Snapshot, page: Page) -> None:
    """Store the provider's id: first in the journal, then in the database, trying until it is taken."""
    with anyio.CancelScope(shield=True):
        entry = Entry(run_id=run.id, remote_id=snapshot.remote_id, word=snapshot.provider_status)
        try:
            await page.append(entry)
        except OSError as error:
            log.error("journal.failed", run=run.id, remote_id=snapshot.remote_id, error=str(error))
        crashpoint.reach("answer-journaled")
        await _commit_bound(worker, run, snapshot)
        crashpoint.reach("id-stored")


async def _commit_bound(worker: AccountWorker, run: Run, snapshot: Snapshot) -> None:
    def step(run: Run, now: datetime) -> Transition:
        crashpoint.reach("storing-id")
        return bind(run, snapshot, now).released()

    try:
        await _stored(lambda: worker.move(run, step))
    except LeaseLost:
        fresh = await _stored(lambda: worker.store.work.by_id(run.id))
        if fresh is None or fresh.remote_id is not None or fresh.status.final:
            log.warning("run.already_bound", run=run.id, remote_id=snapshot.remote_id)
            return
        await _commit_bound(worker, fresh, snapshot)  # whoever has it knows no better id


async def _stored(write: Callable[[], Awaitable[T]]) -> T:
    """Try for a while until the database takes it: what is known now would have to be looked for later."""
    for wait in PATIENCE:
        try:
            return await write()
        except LeaseLost:
            raise
        except StoreError as error:
            if wait is None:
                raise  # the claim is given back when the database is there again, and the next look decides
            log.error("store.failed", error=error.message)
            await anyio.sleep(wait)
    raise AssertionError("the last try raises")


def _stood_still(run: Run, now: datetime) -> Transition:
    # Another process may have gone on meanwhile; in that case this is not committed.
    message = "the program was paused before the request; nothing was sent"
    return retreat(run, now, reason=None, message=message, due_at=now)


def _name(error: BaseException) -> str:
    return f"{type(error).__name__}"
