"""`orchestrator plan`."""

from pathlib import Path

import click

from orchestrator.app.plan import ChangeDocument, document, preview
from orchestrator.cli import _exit
from orchestrator.cli._app import App, app, at_once
from orchestrator.cli._errors import tell
from orchestrator.cli._markdown import plan_markdown
from orchestrator.cli._planfile import save
from orchestrator.cli._text import plan_text
from orchestrator.core.plan import Action
from orchestrator.errors import ManifestError, SettingsError


@click.command("plan")
@click.option("--detailed-exitcode", is_flag=True, help="0 nothing to do, 1 error, 2 changes.")
@click.option("--out", type=click.Path(path_type=Path), help="Save it, for `apply FILE` to do exactly this.")
@click.option("--offline", is_flag=True, help="Ask no database, as if nothing had been bought.")
@click.option("--again", is_flag=True, help="Also buy work that a run no job claims was bought for.")
@app
def command(app: App, *, detailed_exitcode: bool, out: Path | None, offline: bool, again: bool) -> int:
    """Show what `apply` would change, and why; writes nothing and asks no provider.

    -o markdown writes it for a comment on a pull request.
    """

    try:
        manifest = app.manifest()
        with app.reading(manifest.settings, offline=offline) as store:
            plan = at_once(preview(store, manifest, again=again))
    except (ManifestError, SettingsError) as error:
        if not detailed_exitcode:
            raise
        tell(error, app.form)
        return _exit.FAILED  # not the 2 of invalid files, which would say that there are changes
    if out is not None:
        save(app.cwd / out, plan, manifest, again=again)
        app.say(f"Saved; to do exactly this: orchestrator apply {out}")
    found = document(plan)
    changed = [one for one in found.changes if app.output != "name" or one.action is not Action.NONE]
    if app.output == "markdown":
        app.out(plan_markdown(plan))
    elif not app.listed(found, changed, _job):
        app.tell(plan_text(plan))
    return _exit.CHANGES if detailed_exitcode and not plan.empty else _exit.DONE


def _job(change: ChangeDocument) -> str:
    return change.job
