"""`orchestrator why [JOB]...`."""

import click

from orchestrator.app.why import UnrecordedDocument, WhyDocument, unfinished, why
from orchestrator.cli import _exit
from orchestrator.cli._app import App, app, at_once
from orchestrator.cli._table import Column
from orchestrator.cli._text import plain

MOMENTS = (Column("when"), Column("what", wrap=True))


@click.command("why")
@click.argument("jobs", nargs=-1, metavar="[JOB]...")
@app
def command(app: App, *, jobs: tuple[str, ...]) -> int:
    """Explain a job's state: why it is in it, what it waits for, and when it is looked at next.

    Without a name it says so of every job that is not done yet.
    """

    manifest = app.manifest()
    with app.reading(manifest.settings) as store:
        names = list(jobs) or at_once(unfinished(store, manifest))
        found = [at_once(why(store, manifest, job)) for job in names]
    if not app.for_people:
        app.document(found[0] if len(jobs) == 1 else {"jobs": found})
        return _exit.DONE
    if not found:
        app.say("Every job is done.")
    for number, each in enumerate(found):
        if number:
            app.out("")
        _print(app, each, story=bool(jobs))
    return _exit.DONE


def _print(app: App, found: WhyDocument | UnrecordedDocument, *, story: bool) -> None:
    for sentence in found.why:
        app.tell(plain(sentence))
    if story and found.timeline:
        app.out("")
        app.rows(MOMENTS, [(moment.at, moment.what) for moment in found.timeline])
