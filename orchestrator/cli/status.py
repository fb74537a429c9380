"""`orchestrator status`."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import click

from orchestrator.app import report
from orchestrator.cli._app import App, app, run
from orchestrator.cli._standing import standing
from orchestrator.cli._text import age, document, line, plain, until
from orchestrator.cli._wait import unrecorded


@click.command("status")
@click.argument("jobs", nargs=-1, metavar="[JOB]...")
@app
def command(app: App, *, jobs: tuple[str, ...]) -> int:
    """Show the state of each job, from the database alone."""

    async def work() -> int:
        settings = app.settings()
        async with app.reading(settings) as store:
            found = await report.status(store, settings, jobs or None)
            waiting = await store.outbox.unsettled()
            usual = await store.views.usual()
            missing = sorted(set(jobs) - {job["job"] for job in found["jobs"]})
            recorded = [one.record.name for one in await store.views.standings()] if missing else []
        if missing:
            raise unrecorded(missing[0], recorded)
        if app.output == "json":
            app.out(document(found))
        elif app.output in ("jsonl", "name"):
            for job in found["jobs"]:
                app.out(line(job) if app.output == "jsonl" else job["job"])
        else:
            show(app, found, waiting, usual)
        return 0

    return run(work)


def show(app: App, found: Mapping[str, Any], waiting: int, usual: Mapping[str, timedelta]) -> None:
    """Print all that a person sees of `status`."""
    app.say(daemon(found["daemon"]))
    if found["jobs"]:
        app.table(standing(found["jobs"], usual, wide=app.output == "wide"))
    for note in notes(found, waiting):
        app.say(note)


def notes(found: Mapping[str, Any], waiting: int) -> list[str]:
    """Say what troubles accounts, hooks and deliveries, and when the accounts are looked at."""
    said = [] if found["jobs"] else ["No job is recorded yet: orchestrator apply"]
    said += [
        f"{account['provider']} is {account['state']}: {plain(account['reason'])}"
        for account in found["providers"]
        if account["state"] in ("paused", "stale") and account["reason"]
    ]
    said += [hook_note(hook) for hook in found["hooks"] if hook["state"] != "ok"]
    said += [_looks(account) for account in found["providers"] if account["open"]]
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


def hook_note(hook: Mapping[str, Any]) -> str:
    """Write what is wrong with a hook, and what to do about it."""
    waits = f", {hook['waiting']} waiting" if hook["waiting"] else ""
    since = f" for {age(hook['failing_since'])}" if hook["failing_since"] else ""
    reason = f": {plain(hook['reason'])}" if hook["reason"] else ""
    note = HOOK_NOTES[hook["state"]].format(hook=hook["hook"])
    return f"hook {hook['hook']} ({hook['state']}{since}{waits}){reason}; it {note}"


def _looks(account: Mapping[str, Any]) -> str:
    if account["next_poll_at"] is None:
        return f"{account['provider']}: not polled yet"
    usual, following = account["poll_interval"], until(account["next_poll_at"])
    following = following if following == "now" else f"in {following}"
    if account["reason"]:  # it fails, so that its interval does not hold
        return f"{account['provider']}: polled again {following}, otherwise every {usual}{_late(account)}"
    return f"{account['provider']}: polled every {usual}, next {following}{_late(account)}"


def _late(account: Mapping[str, Any]) -> str:
    late = int(account["poll_lag"] or 0)
    return f"; the next complete look is {late}s overdue" if late and account["state"] == "stale" else ""


def daemon(beat: Mapping[str, Any] | None) -> str:
    """Say when a daemon was seen last."""
    if beat is None:
        return "No daemon has run yet: orchestrator up"
    seen = datetime.fromisoformat(beat["seen_at"])
    where = f"seen {age(seen)} ago on {beat['host']}, pid {beat['pid']}"
    return f"daemon: {where}" if beat["running"] else f"No daemon is running (last {where}): orchestrator up"
