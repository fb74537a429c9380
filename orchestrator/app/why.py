"""Why a job stands where it does, in sentences that a person can act on."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import assert_never

from orchestrator.app import status
from orchestrator.app.cancel import caveats
from orchestrator.app.documents import Document, JobDocument
from orchestrator.app.plan import preview
from orchestrator.config.duration import show
from orchestrator.config.manifest import AfterDoubt, Manifest
from orchestrator.core.event import Event
from orchestrator.core.run import Reason, Run, Status
from orchestrator.core.schedule import verdict_after
from orchestrator.store.accounts import Account
from orchestrator.store.daemons import Beat
from orchestrator.store.owner import shown
from orchestrator.store.store import Store
from orchestrator.store.views import JobState


@dataclass(frozen=True, kw_only=True)
class Moment(Document):
    """One thing that happened to a job."""

    at: datetime
    what: str


@dataclass(frozen=True, kw_only=True)
class Reasons(Document):
    """Why a job stands where it does, as sentences."""

    why: tuple[str, ...]
    timeline: tuple[Moment, ...]


@dataclass(frozen=True, kw_only=True)
class WhyDocument(Reasons, JobDocument):
    """A job that is recorded, and why it stands where it does."""


@dataclass(frozen=True, kw_only=True)
class UnrecordedDocument(Reasons):
    """A job that is declared, but not recorded yet."""

    job: str


async def unfinished(store: Store, manifest: Manifest) -> list[str]:
    """Name the jobs that are neither done nor out of the files, whether they are recorded or not."""
    standings = await store.views.standings()
    recorded = {one.record.name for one in standings}
    moving = [
        one.record.name for one in standings if one.record.held or one.run is None or not one.run.status.final
    ]
    return [*moving, *(name for name in manifest.jobs if name not in recorded)]


async def why(store: Store, manifest: Manifest, job: str) -> WhyDocument | UnrecordedDocument:
    """Explain one job; raises `UnknownName` for one that is neither declared nor recorded."""
    if job in manifest.jobs and not await store.views.standings([job]):
        return await _unrecorded(store, manifest, job)
    (standing,) = await status.known(store, [job], manifest.jobs)
    accounts = {account.name: account for account in await store.accounts.all()}
    account = accounts.get(standing.record.account)
    told = timeline(await store.views.history(job), await store.views.events(job=job))
    sentences = explain(standing, account, manifest, await store.daemons.latest(), await store.now())
    return WhyDocument(**vars(status.job(standing, account)), why=tuple(sentences), timeline=tuple(told))


async def _unrecorded(store: Store, manifest: Manifest, job: str) -> UnrecordedDocument:
    """Say of a job that is not recorded what a plan says of it."""
    plan = await preview(store, manifest)
    reason = next(change.reason for change in plan.changes if change.job == job)
    sentences = (f"{job} is declared, but not recorded yet.", f"The plan says: {reason}.")
    return UnrecordedDocument(job=job, why=sentences, timeline=())


def explain(
    standing: JobState, account: Account | None, manifest: Manifest, beat: Beat | None, now: datetime
) -> list[str]:
    """Say what is known, what it waits for, and what happens next."""
    run, record = standing.run, standing.record
    said = [_standing(run, record.name)]
    if run is not None and run.message and (account is None or run.message != account.paused):
        said.append(f"Last message: {run.message}.")
    if record.held:
        said.append(f"A change is held: {record.held}.")
    if run is not None:
        said += [*_claimed(run, now), *_waits(run, account, manifest, now)]
    if not standing.managed:
        said.append("No job file declares it any more; its run is left as it is.")
    moving = run is not None and not run.status.final
    if moving and run is not None and run.cancel is not None:
        said += _cancelling(run)
    if moving and (beat is None or not beat.fresh):
        said.append("No daemon is running, so nothing will happen: orchestrator up.")
    return said


def _standing(run: Run | None, name: str) -> str:
    if run is None:
        return f"{name} has no run yet."
    where = f" as {run.remote_id}" if run.remote_id else ""
    word = f", which says {run.provider_status}" if run.provider_status else ""
    match run.status:
        case Status.PENDING:
            return f"{name} has not been sent yet (attempt {run.attempt})."
        case Status.SUBMITTING:
            return f"{name} is being sent to {run.account} (attempt {run.attempt})."
        case Status.IN_DOUBT:
            return f"{name} was sent to {run.account}, but the answer was lost: it may or may not exist."
        case Status.QUEUED | Status.RUNNING:
            return f"{name} is {run.status} at {run.account}{where}{word}."
        case Status.SUCCEEDED:
            model = (run.result or {}).get("model")
            return f"{name} succeeded at {run.account}{where}; its model is {model}."
        case Status.FAILED | Status.CANCELLED:
            was = "failed" if run.status is Status.FAILED else "was cancelled"
            return f"{name} {was} (attempt {run.attempt}{where}{word}); retry buys another attempt."
        case Status.LOST:
            return f"{name} is lost: {run.account} no longer has {run.remote_id}."
    assert_never(run.status)


def _claimed(run: Run, now: datetime) -> list[str]:
    if run.owner is None or run.lease_until is None or run.lease_until <= now or run.status.final:
        return []
    until = f"{run.lease_until:%H:%M:%S} UTC"
    return [f"Claimed by {shown(run.owner)} until {until}, and for longer while that works on it."]


def _waits(run: Run, account: Account | None, manifest: Manifest, now: datetime) -> list[str]:
    said: list[str] = []
    match run.reason:
        case Reason.LOOKING | Reason.PARKED:
            said += _looking(run, manifest, now)
        case Reason.CONFLICT:
            said.append(f"Several fine-tunes could be it: orchestrator resolve {run.job} --adopt ID.")
        case Reason.CREDENTIALS:
            said.append(f"Its account is paused until the credentials of {run.account} are right.")
        case Reason.LIMIT:
            said.append(f"It waits, since max_running of {run.account} is reached.")
        case Reason.HELD | Reason.NEEDS | None:
            pass
    if run.status is Status.PENDING and run.due_at and run.due_at > now:
        said.append(f"It is sent in {_in(run.due_at, now)}.")
    if run.after is not None and run.status is Status.PENDING:
        said.append(f"It is sent once {run.after}, which it replaces, has ended.")
    if account is not None and not run.status.final:
        said += _account(account, now)
    return said


def _cancelling(run: Run) -> list[str]:
    """Say that its end was asked for, and where that alone ends nothing."""
    return [f"You asked to {run.cancel} it.", *caveats(run, run.cancel or "cancel")]


def _looking(run: Run, manifest: Manifest, now: datetime) -> list[str]:
    options = manifest.accounts.get(run.account)
    following = f"next in {_in(run.due_at, now)}" if run.due_at else "no further search is planned"
    said = [f"Complete listings without it so far: {run.looks}; {following}."]
    if run.reason is Reason.PARKED:
        said.append(f"You decide: orchestrator resolve {run.job} --adopt ID | --resend | --abandon.")
    elif options is not None and run.sent_at is not None:
        until = verdict_after(run.sent_at, options.doubt_window)
        then = "sent again" if options.after_doubt is AfterDoubt.RESEND else "left to you"
        said.append(f"If it is not listed after {until:%H:%M:%S} UTC, it is {then} (after_doubt).")
    return said


def _account(account: Account, now: datetime) -> list[str]:
    said = []
    if account.paused:
        said.append(f"{account.name} is paused: {account.paused}.")
    elif account.failures:
        said.append(
            f"{account.name} has failed to answer {account.failures} times in a row: {account.last_error}."
        )
    if account.confirmed_at:
        said.append(f"Last complete listing {_in(now, account.confirmed_at)} ago.")
    if account.next_poll_at and account.next_poll_at > now:
        every = f", at least every {show(account.interval)}" if account.interval else ""
        rest = "; it is asked less often the longer it fails" if account.failures else every
        said.append(f"Next poll in {_in(account.next_poll_at, now)}{rest}.")
    return said


def _in(later: datetime, earlier: datetime) -> str:
    return show(timedelta(seconds=max(0, round((later - earlier).total_seconds()))))


def timeline(attempts: Sequence[Run], events: Sequence[Event]) -> list[Moment]:
    """List what happened to a job and all its runs, oldest first."""
    told = [
        Moment(
            at=event.timestamp,
            what=event.type
            + (f", provider says {event.provider_status}" if event.provider_status else "")
            + (f": {event.message}" if event.message else ""),
        )
        for event in events
    ]
    ours: list[Moment] = []
    for run in attempts:
        ours.append(Moment(at=run.created_at, what=f"attempt {run.attempt} recorded"))
        if run.sent_at is not None:
            ours.append(Moment(at=run.sent_at, what=f"attempt {run.attempt} sent to {run.account}"))
        if run.reason is Reason.LOOKING:  # what comes after it has an event of its own
            doubt = f"attempt {run.attempt} in doubt: {run.message}"
            ours.append(Moment(at=run.updated_at, what=doubt))
    return sorted(ours + told, key=lambda moment: moment.at)
