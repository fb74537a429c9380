"""`orchestrator plan`."""

from pathlib import Path

import click

from orchestrator.app import report
from orchestrator.app.reconcile import preview
from orchestrator.cli._app import App, app, run
from orchestrator.cli._errors import tell
from orchestrator.cli._markdown import plan_markdown
from orchestrator.cli._planfile import save
from orchestrator.cli._text import document, line, plan_text
from orchestrator.core.plan import Action
from orchestrator.errors import ManifestError, SettingsError
from orchestrator.providers.registry import registry

CHANGES = 2
ERROR = 1


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

    async def work() -> int:
        try:
            return await show()
        except (ManifestError, SettingsError) as error:
            if not detailed_exitcode:
                raise
            tell(error, app.form)
            return ERROR  # not the 2 of invalid files, which would say that there are changes

    async def show() -> int:
        manifest = app.manifest()
        async with app.reading(manifest.settings, offline=offline) as store:
            plan = await preview(store, manifest, registry(), again=again)
        if out is not None:
            save(app.cwd / out, plan, manifest, again=again)
            app.say(f"Saved; to do exactly this: orchestrator apply {out}")
        if app.output == "json":
            app.out(document(report.plan(plan)))
        elif app.output == "jsonl":
            for change in plan.changes:
                app.out(line(report.change(change)))
        elif app.output == "name":
            for change in plan.changes:
                if change.action is not Action.NONE:
                    app.out(change.job)
        elif app.output == "markdown":
            app.out(plan_markdown(plan))
        else:
            app.tell(plan_text(plan))
        return CHANGES if detailed_exitcode and not plan.empty else 0

    return run(work)
