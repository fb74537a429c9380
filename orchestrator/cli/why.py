"""`orchestrator why JOB`."""

import click

from orchestrator.cli._app import App, app, run
from orchestrator.cli._table import Column
from orchestrator.cli._text import document, plain
from orchestrator.cli._wait import known
from orchestrator.config.manifest import Manifest
from orchestrator.core.delivery import stamp
from orchestrator.engine import report
from orchestrator.engine.explain import explain, timeline
from orchestrator.engine.reconcile import preview
from orchestrator.providers import registry
from orchestrator.store.store import Store


@click.command("why")
@click.argument("job")
@app
def command(app: App, *, job: str) -> int:
    """Say in a sentence why a job stands where it does, what it waits for, and when it is looked at next."""

    async def work() -> int:
        manifest = app.manifest()
        async with app.store(manifest.settings) as store:
            if await _unrecorded(app, store, manifest, job):
                return 0
            standing = (await known(store, [job], manifest.jobs))[0]
            accounts = {account.name: account for account in await store.accounts.all()}
            account = accounts.get(standing.record.account)
            events = await store.views.events(job=job)
            attempts = await store.views.history(job)
            beat = await store.daemons.latest()
            now = await store.now()
        sentences = explain(standing, account, manifest, beat, now)
        line = timeline(attempts, events)
        if not app.for_people:
            moments = [{"at": stamp(at), "what": what} for at, what in line]
            shown = report.job(standing, account)
            app.out(document({"schema_version": 1, **shown, "why": sentences, "timeline": moments}))
            return 0
        for sentence in sentences:
            app.tell(plain(sentence))
        if line:
            app.out("")
            app.rows((Column("when"), Column("what", wrap=True)), line)
        return 0

    return run(work)


async def _unrecorded(app: App, store: Store, manifest: Manifest, job: str) -> bool:
    """Say what a plan says of a job that is declared but not recorded; False where that is not so."""
    if job not in manifest.jobs or await store.views.standings([job]):
        return False
    plan = await preview(store, manifest, registry())
    reason = next(change.reason for change in plan.changes if change.job == job)
    sentences = [f"{job} is declared, but nothing of it is recorded yet.", f"The plan for it: {reason}."]
    if not app.for_people:
        app.out(document({"schema_version": 1, "job": job, "why": sentences, "timeline": []}))
    for sentence in sentences if app.for_people else ():
        app.tell(plain(sentence))
    return True
