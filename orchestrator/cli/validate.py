"""`orchestrator validate`."""

import click

from orchestrator.cli._app import App, app, hook_problems
from orchestrator.cli._errors import documents
from orchestrator.cli._text import count, document
from orchestrator.errors import ManifestError


@click.command("validate")
@app
def command(app: App) -> int:
    """Check the job files, offline: no secret is read, no provider asked."""
    manifest = app.manifest(buys=False)
    problems = hook_problems(manifest)
    if problems:
        raise ManifestError(problems)
    for warning in manifest.warnings if app.output != "json" else ():
        app.say(f"warning: {warning}")
    if app.for_people:
        names = ", ".join(str(path.name) for path in manifest.files)
        jobs, accounts = count(len(manifest.jobs), "job"), count(len(manifest.accounts), "account")
        app.out(f"{names}: {jobs}, {accounts}: valid")
    elif app.output == "json":
        found = {"problems": [], "warnings": documents(manifest.warnings), "jobs": list(manifest.jobs)}
        app.out(document({"schema_version": 1, **found}))
    else:
        for name in manifest.jobs:
            app.out(name)
    return 0
