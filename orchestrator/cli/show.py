"""`orchestrator show JOB`."""

import click

from orchestrator.cli._app import App, app, run
from orchestrator.cli._text import age, document, line, plain, table
from orchestrator.cli._wait import known
from orchestrator.core.delivery import stamp
from orchestrator.core.run import Run
from orchestrator.engine import report


@click.command("show")
@click.argument("job")
@app
def command(app: App, *, job: str) -> int:
    """Show all that is known of one job: its run, earlier attempts, what happened."""

    async def work() -> int:
        settings = app.settings()
        async with app.store(settings) as store:
            standing = (await known(store, [job]))[0]
            history = await store.views.history(job)
            events = await store.views.events(job=job)
            accounts = {account.name: account for account in await store.accounts.all()}
        shown = report.job(standing, accounts.get(standing.record.account))
        if app.output != "table":
            runs = [attempt(one) for one in history]
            told = [report.event(event) for event in events]
            app.out(document({"schema_version": 1, **shown, "runs": runs, "events": told}))
            return 0
        width = max(map(len, shown))
        for key, value in shown.items():
            app.out(f"{key:<{width}}  {_text(value)}")
        if standing.run is not None:
            app.out(f"{'marker':<{width}}  {standing.run.marker}")
            app.out(f"{'spec':<{width}}  {line(standing.run.spec)}")
        rows = [(age(event.timestamp), event.type, event.status, event.message) for event in events]
        if rows:
            app.out("")
            app.out(table(("age", "event", "status", "message"), rows))
        return 0

    return run(work)


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return line(value) if isinstance(value, dict) else plain(value)


def attempt(run: Run) -> dict[str, object]:
    """Return one run of a job's history."""
    return {
        "run_id": run.id,
        "attempt": run.attempt,
        "fingerprint": run.fingerprint,
        "marker": run.marker,
        "status": run.status,
        "reason": run.reason,
        "remote_id": run.remote_id,
        "spec": dict(run.spec),
        "steps": dict(run.steps),
        "result": run.result,
        "message": run.message,
        "created_at": stamp(run.created_at),
        "sent_at": stamp(run.sent_at),
        "submitted_at": stamp(run.submitted_at),
        "finished_at": stamp(run.finished_at),
    }
