"""Why a job stands where it does, in sentences that a person can act on."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import assert_never

from orchestrator.app.decide import caveats
from orchestrator.config.duration import show
from orchestrator.config.manifest import AfterDoubt, Manifest
from orchestrator.core.event import Event
from orchestrator.core.run import Reason, Run, Status
from orchestrator.core.schedule import verdict_after
from orchestrator.store.accounts import Account
from orchestrator.store.daemons import Beat
from orchestrator.store.owner import shown
from orchestrator.store.views import Standing


def explain(
    standing: Standing, account: Account | None, manifest: Manifest, beat: Beat | None, now: datetime
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
    next_look = f"next in {_in(run.due_at, now)}" if run.due_at else "no further look is planned"
    said = [f"Complete listings without it so far: {run.looks}; {next_look}."]
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
        said.append(f"Last complete look {_in(now, account.confirmed_at)} ago.")
    if account.next_poll_at and account.next_poll_at > now:
        every = f", at least every {show(account.interval)}" if account.interval else ""
        rest = "; it is asked less often the longer it fails" if account.failures else every
        said.append(f"Next look in {_in(account.next_poll_at, now)}{rest}.")
    return said


def _in(later: datetime, earlier: datetime) -> str:
    return show(timedelta(seconds=max(0, round((later - earlier).total_seconds()))))


def timeline(attempts: Sequence[Run], events: Sequence[Event]) -> list[tuple[datetime, str]]:
    """List what happened to a job and all its runs, oldest first."""
    told = [
        (
            event.timestamp,
            f"{event.type}"
            + (f", provider says {event.provider_status}" if event.provider_status else "")
            + (f": {event.message}" if event.message else ""),
        )
        for event in events
    ]
    ours: list[tuple[datetime, str]] = []
    for run in attempts:
        ours.append((run.created_at, f"attempt {run.attempt} recorded"))
        if run.sent_at is not None:
            ours.append((run.sent_at, f"attempt {run.attempt} sent to {run.account}"))
        if run.reason is Reason.LOOKING:  # what comes after it has an event of its own
            ours.append((run.updated_at, f"attempt {run.attempt} in doubt: {run.message}"))
    return sorted(ours + told, key=lambda moment: moment[0])
