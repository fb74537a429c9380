"""`orchestrator status`."""

from collections.abc import Mapping
from datetime import timedelta

import click

from orchestrator.app.documents import (
    DaemonDocument,
    HookDocument,
    JobDocument,
    ProviderDocument,
    StatusDocument,
)
from orchestrator.app.status import known, status
from orchestrator.cli import _exit
from orchestrator.cli._app import App, app, at_once
from orchestrator.cli._standing import standing
from orchestrator.cli._text import age, plain, until


@click.command("status")
@click.argument("jobs", nargs=-1, metavar="[JOB]...")
@app
def command(app: App, *, jobs: tuple[str, ...]) -> int:
    """Show the state of each job, from the database alone."""

    settings = app.settings()
    with app.reading(settings) as store:
        found = at_once(status(store, settings, jobs or None))
        if len(found.jobs) < len(set(jobs)):
            at_once(known(store, sorted(jobs)))
        waiting = at_once(store.outbox.unsettled())
        usual = at_once(store.views.usual())
    if not app.listed(found, found.jobs, _job):
        show(app, found, waiting, usual)
    return _exit.DONE


def _job(job: JobDocument) -> str:
    return job.job


def show(app: App, found: StatusDocument, waiting: int, usual: Mapping[str, timedelta]) -> None:
    """Print all that a person sees of `status`."""
    app.say(daemon(found.daemon))
    if found.jobs:
        app.table(standing(found.jobs, usual, wide=app.output == "wide"))
    for note in notes(found, waiting):
        app.say(note)


def notes(found: StatusDocument, waiting: int) -> list[str]:
    """Say what troubles accounts, hooks and deliveries, and when the accounts are polled."""
    said = [] if found.jobs else ["No job is recorded yet: orchestrator apply"]
    said += [
        f"{account.provider} is {account.state}: {plain(account.reason)}"
        for account in found.providers
        if account.state in ("paused", "stale") and account.reason
    ]
    said += [hook_note(hook) for hook in found.hooks if hook.state != "ok"]
    said += [_polls(account) for account in found.providers if account.open]
    if waiting:
        said.append(f"{waiting} deliveries wait: orchestrator hooks log")
    return said


HOOK_NOTES = {
    "gone": (
        "is no longer in any job file: orchestrator hooks drop {hook} gives up what is waiting, "
        "orchestrator hooks redeliver --hook {hook} --to NAME sends it to another"
    ),
    "off": "is switched off until its table changes, or you run: orchestrator hooks redeliver --hook {hook}",
    "unfit": "cannot work here",
    "refused": "keeps getting the same refusal",
    "resting": "is tried only once a minute, since its receiver is in trouble",
    "failing": "is failing, and being retried",
}


def hook_note(hook: HookDocument) -> str:
    """Write what is wrong with a hook, and what to do about it."""
    waits = f", {hook.waiting} waiting" if hook.waiting else ""
    since = f" for {age(hook.failing_since)}" if hook.failing_since else ""
    reason = f": {plain(hook.reason)}" if hook.reason else ""
    note = HOOK_NOTES[hook.state].format(hook=hook.hook)
    return f"hook {hook.hook} ({hook.state}{since}{waits}){reason}; it {note}"


def _polls(account: ProviderDocument) -> str:
    if account.next_poll_at is None:
        return f"{account.provider}: not polled yet"
    usual, following = account.poll_interval, until(account.next_poll_at)
    following = following if following == "now" else f"in {following}"
    if account.reason:  # it fails, so that its interval does not hold
        return f"{account.provider}: polled again {following}, otherwise every {usual}{_late(account)}"
    return f"{account.provider}: polled every {usual}, next {following}{_late(account)}"


def _late(account: ProviderDocument) -> str:
    late = int(account.poll_lag or 0)
    return f"; the next complete listing is {late}s overdue" if late and account.state == "stale" else ""


def daemon(beat: DaemonDocument | None) -> str:
    """Say when a daemon was seen last."""
    if beat is None:
        return "No daemon has run yet: orchestrator up"
    where = f"seen {age(beat.seen_at)} ago on {beat.host}, pid {beat.pid}"
    return f"daemon: {where}" if beat.running else f"No daemon is running (last {where}): orchestrator up"
