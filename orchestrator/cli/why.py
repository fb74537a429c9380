"""`orchestrator why [JOB]...`."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import click

from orchestrator.app import report
from orchestrator.app.explain import explain, timeline
from orchestrator.app.reconcile import preview
from orchestrator.cli._app import App, app, run
from orchestrator.cli._table import Column
from orchestrator.cli._text import document, plain
from orchestrator.cli._wait import known
from orchestrator.config.manifest import Manifest
from orchestrator.core.delivery import stamp
from orchestrator.providers.registry import registry
from orchestrator.store.store import Store

MOMENTS = (Column("when"), Column("what", wrap=True))


@click.command("why")
@click.argument("jobs", nargs=-1, metavar="[JOB]...")
@app
def command(app: App, *, jobs: tuple[str, ...]) -> int:
    """Explain a job's state: why it is in it, what it waits for, and when it is looked at next.

    Without a name it says so of every job that is not done yet.
    """

    async def work() -> int:
        manifest = app.manifest()
        async with app.reading(manifest.settings) as store:
            found = [await _why(store, manifest, job) for job in jobs or await _unfinished(store, manifest)]
        if not app.for_people:
            one = len(jobs) == 1
            app.out(document({"schema_version": 1, **(found[0] if one else {"jobs": found})}))
            return 0
        if not found:
            app.say("Every job is done.")
        for number, each in enumerate(found):
            if number:
                app.out("")
            _print(app, each, story=bool(jobs))
        return 0

    return run(work)


async def _unfinished(store: Store, manifest: Manifest) -> list[str]:
    """Name the jobs that are neither done nor out of the files, whether they are recorded or not."""
    standings = await store.views.standings()
    recorded = {one.record.name for one in standings}
    moving = [
        one.record.name for one in standings if one.record.held or one.run is None or not one.run.status.final
    ]
    return [*moving, *(name for name in manifest.jobs if name not in recorded)]


async def _why(store: Store, manifest: Manifest, job: str) -> dict[str, Any]:
    if job in manifest.jobs and not await store.views.standings([job]):
        return await _unrecorded(store, manifest, job)
    standing = (await known(store, [job], manifest.jobs))[0]
    accounts = {account.name: account for account in await store.accounts.all()}
    account = accounts.get(standing.record.account)
    events = await store.views.events(job=job)
    attempts = await store.views.history(job)
    sentences = explain(standing, account, manifest, await store.daemons.latest(), await store.now())
    moments = [{"at": stamp(at), "what": what} for at, what in timeline(attempts, events)]
    return {**report.job(standing, account), "why": sentences, "timeline": moments}


async def _unrecorded(store: Store, manifest: Manifest, job: str) -> dict[str, Any]:
    """Say what a plan says of a job that is declared but not recorded."""
    plan = await preview(store, manifest, registry())
    reason = next(change.reason for change in plan.changes if change.job == job)
    sentences = [f"{job} is declared, but not recorded yet.", f"The plan says: {reason}."]
    return {"job": job, "why": sentences, "timeline": []}


def _print(app: App, found: Mapping[str, Any], *, story: bool) -> None:
    for sentence in found["why"]:
        app.tell(plain(sentence))
    if story and found["timeline"]:
        app.out("")
        moments = [(datetime.fromisoformat(one["at"]), one["what"]) for one in found["timeline"]]
        app.rows(MOMENTS, moments)
