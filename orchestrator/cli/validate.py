"""`orchestrator validate`."""

import click

from orchestrator.app.validate import require_hooks
from orchestrator.cli import _exit
from orchestrator.cli._app import App, app
from orchestrator.cli._errors import documents
from orchestrator.cli._text import count


@click.command("validate")
@app
def command(app: App) -> int:
    """Check the job files, offline: no secret is read, no provider asked."""
    manifest = app.manifest(buys=False)
    require_hooks(manifest)
    for warning in manifest.warnings if app.output != "json" else ():
        app.say(f"warning: {warning}")
    if app.for_people:
        names = ", ".join(str(path.name) for path in manifest.files)
        jobs, accounts = count(len(manifest.jobs), "job"), count(len(manifest.accounts), "account")
        app.out(f"{names}: {jobs}, {accounts}: valid")
    elif app.output == "json":
        warned = documents(manifest.warnings)
        app.document({"problems": [], "warnings": warned, "jobs": list(manifest.jobs)})
    else:
        for name in manifest.jobs:
            app.out(name)
    return _exit.DONE
