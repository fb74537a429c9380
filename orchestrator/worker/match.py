"""Finding a run in a complete listing, before it is sent or after its answer was lost."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial

from orchestrator.core.changeset import ATTEMPTS
from orchestrator.core.job import marker
from orchestrator.core.run import Reason, Run, Snapshot, Status
from orchestrator.core.transition import Transition, bind, finish, stop_for_person
from orchestrator.store.commit import make_id
from orchestrator.worker.account import AccountWorker, log


@dataclass(frozen=True, kw_only=True, slots=True)
class Match:
    """What in a listing may be a run: nothing, one fine-tune, or several that a person must tell apart."""

    one: Snapshot | None = None
    several: tuple[Snapshot, ...] = ()


async def find_match(worker: AccountWorker, run: Run, strangers: Sequence[Snapshot]) -> Match:
    """Look for `run` among the fine-tunes that no run is bound to."""
    found = await worker.provider.find(run, strangers)
    if worker.provider.facts.marker_field.value is None:
        return _unmarked(run, found)
    marked = tuple(item for item in strangers if item.marker == run.marker)
    if len(found) == 1 and len(marked) == 1:
        return Match(one=found[0])
    # Two fine-tunes with one marker, or the marker on other work: a person must decide.
    return Match(several=marked or found)


def _unmarked(run: Run, found: Sequence[Snapshot]) -> Match:
    """Without a marker, take the newest draft of the same work; a fine-tune under way is only similar.

    A run that was sent knows its own by the time, too, so that one found is it. A later attempt is
    wanted beside what is there already.
    """
    drafts = [item for item in found if item.status is Status.QUEUED and item.provider_status == "created"]
    if drafts:
        return Match(one=drafts[0])
    if run.sent_at is not None:
        return Match(one=found[0]) if len(found) == 1 else Match(several=tuple(found))
    return Match(several=tuple(found) if run.attempt == 1 else ())


def conflict(run: Run, now: datetime, *, found: Sequence[Snapshot]) -> Transition:
    """Ask a person which of `found` it is."""
    ids = ", ".join(item.remote_id for item in found)
    message = (
        f"the provider has {ids}, any of which may be this run: "
        f"`orchestrator resolve {run.job} --adopt ID | --resend | --abandon`"
    )
    return stop_for_person(run, now, reason=Reason.CONFLICT, message=message)


async def bind_found(worker: AccountWorker, run: Run, found: Snapshot) -> None:
    """Bind `run` to a fine-tune from a listing or the journal, unless another run has it."""
    holder = (await worker.store.work.bound(worker.name, [found.remote_id])).get(found.remote_id)
    if holder is not None and holder.id != run.id:
        await worker.leave(run, partial(conflict, found=[found]))
        return
    log.info("run.found", job=run.job, run=run.id, remote_id=found.remote_id)
    await worker.leave(run, lambda run, now: bind(run, found, now))


async def later_attempts(worker: AccountWorker, run: Run, strangers: Sequence[Snapshot]) -> bool:
    """Record later attempts of `run` that only a lost database knew of; says whether there were any."""
    marks = {item.marker: item for item in strangers if item.marker}
    if not marks:
        return False
    found = False
    for attempt in range(run.attempt + 1, ATTEMPTS + 1):
        mark = marker(run.project, run.account, run.job, run.fingerprint, attempt)
        if mark in marks:
            found = True
            now = await worker.store.now()
            again = replace(
                run, id=make_id("run"), attempt=attempt, marker=mark, owner=None, lease_until=None, epoch=0
            )
            log.info("run.found", job=run.job, run=again.id, remote_id=marks[mark].remote_id)
            await worker.store.work.insert(bind(again, marks[mark], now), worker.routing)
    return found


def superseded(run: Run, now: datetime) -> Transition:
    """End an attempt that the provider no longer has although it has a later one of the same work."""
    return finish(run, now, status=Status.LOST, message="the provider has a later attempt, but not this one")
