"""`orchestrator why JOB`."""

import click

from orchestrator.cli._app import App, app, run
from orchestrator.cli._text import document, plain, table
from orchestrator.cli._wait import known
from orchestrator.core.delivery import stamp
from orchestrator.engine import report
from orchestrator.engine.explain import explain, timeline


@click.command("why")
@click.argument("job")
@app
def command(app: App, *, job: str) -> int:
    """Say in a sentence why a job stands where it does, what it waits for, and when it is looked at next."""

    async def work() -> int:
        manifest = app.manifest()
        async with app.store(manifest.settings) as store:
            standing = (await known(store, [job]))[0]
            accounts = {account.name: account for account in await store.accounts.all()}
            account = accounts.get(standing.record.account)
            events = await store.views.events(job=job)
            beat = await store.daemons.latest()
            now = await store.now()
        sentences = explain(standing, account, manifest, beat, now)
        line = timeline(standing.run, events)
        if app.output != "table":
            moments = [{"at": stamp(at), "what": what} for at, what in line]
            shown = report.job(standing, account)
            app.out(document({"schema_version": 1, **shown, "why": sentences, "timeline": moments}))
            return 0
        for sentence in sentences:
            app.out(plain(sentence))
        if line:
            app.out("")
            rows = [(stamp(at.replace(microsecond=0)), what) for at, what in line]
            app.out(table(("when", "what"), rows))
        return 0

    return run(work)
