"""Recovering lost answers: from the journal, then from complete listings; a verdict only after the window."""

from collections.abc import Sequence
from datetime import datetime
from functools import partial

import anyio
import structlog

from orchestrator import crashpoint
from orchestrator.config.manifest import AfterDoubt
from orchestrator.core.run import Reason, Run, Snapshot, Status
from orchestrator.core.schedule import LATER_LOOKS, next_look, verdict_after
from orchestrator.core.transition import Transition, doubt, look_again, retreat, stop_for_person
from orchestrator.errors import LeaseLost
from orchestrator.worker.account import AccountWorker
from orchestrator.worker.match import bind_found, conflict, find_match

log: structlog.stdlib.BoundLogger = structlog.get_logger("orchestrator.worker")

BATCH = 200


async def recover(worker: AccountWorker) -> int:
    """Look for the account's runs whose answer was lost; returns how many there were."""
    claimed = await worker.store.work.claim_looks(worker.name, most=BATCH)
    if not claimed:
        return 0
    try:
        crashpoint.reach("search-claimed")
        unanswered = await _from_journal(worker, claimed)
        if unanswered:
            await _search(worker, unanswered)
    finally:
        with anyio.CancelScope(shield=True):
            await worker.store.work.release(claimed)
    return len(claimed)


async def _from_journal(worker: AccountWorker, claimed: Sequence[Run]) -> Sequence[Run]:
    """Bind the runs whose answer is in the journal and return the others, all of them in doubt now."""
    journal = await worker.journal.read()
    unanswered: list[Run] = []
    for run in claimed:
        entry = journal.get(run.id)
        if entry is not None:
            status = worker.provider.status_map.get(entry.word)
            reply = Snapshot(remote_id=entry.remote_id, status=status, provider_status=entry.word)
            await bind_found(worker, run, reply)
        elif run.status is Status.SUBMITTING:
            try:
                unanswered.append(await worker.move(run, _interrupted))
            except LeaseLost:
                continue
        else:
            unanswered.append(run)
    return unanswered


def _interrupted(run: Run, now: datetime) -> Transition:
    return doubt(run, now, message="the program stopped during the request")


async def _search(worker: AccountWorker, runs: Sequence[Run]) -> None:
    started = await worker.store.now()
    strangers = list(await worker.strangers(await worker.listing()))
    crashpoint.reach("search-listed")
    for run in runs:
        known = await find_match(worker, run, strangers)
        if known.one is not None:
            await bind_found(worker, run, known.one)
            strangers = [item for item in strangers if item.remote_id != known.one.remote_id]
        elif known.several:
            await worker.leave(run, partial(conflict, found=known.several))
        else:
            await worker.leave(run, partial(_absent, worker=worker, started=started))


def _absent(run: Run, now: datetime, *, worker: AccountWorker, started: datetime) -> Transition:
    """Decide what it means for `run` that a complete listing, begun at `started`, did not show it."""
    window = worker.options.doubt_window
    sent_at = run.sent_at or run.updated_at
    if run.reason is Reason.PARKED:
        return look_again(run, due_at=now + LATER_LOOKS)
    if started < verdict_after(sent_at, window):
        return look_again(run, due_at=next_look(run.looks + 1, now, sent_at=sent_at, window=window))
    if worker.options.after_doubt is AfterDoubt.RESEND:
        return retreat(run, now, reason=None, message="no listing showed it; sent again", due_at=now)
    message = (
        f"the answer was lost and no complete listing up to {started:%Y-%m-%d %H:%M} UTC shows it: "
        f"`orchestrator resolve {run.job} --adopt ID | --resend | --abandon`"
    )
    return stop_for_person(run, now, reason=Reason.PARKED, message=message, due_at=now + LATER_LOOKS)
