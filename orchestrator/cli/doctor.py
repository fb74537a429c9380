"""`orchestrator doctor`."""

import click

from orchestrator.app.doctor import DoctorDocument, Finding, Refused, examine, names
from orchestrator.app.documents import as_json
from orchestrator.app.validate import require_hooks
from orchestrator.cli import _exit
from orchestrator.cli._app import App, app, line, run
from orchestrator.cli._engine import opened
from orchestrator.cli._table import COLORS
from orchestrator.cli._text import plain


@click.command("doctor")
@app
def command(app: App) -> int:
    """Check everything that the job files name: database, credentials, providers, hooks.

    It buys and sends nothing. Each provider is asked for one page of its listing; each hook's secret or
    program is looked up.
    """

    async def work() -> int:
        manifest = app.manifest()
        require_hooks(manifest)
        async with app.store(manifest.settings) as store, opened(app, manifest, store) as engine:
            report = Report(app, width=max(len(_label(app, name)) for name in names(engine)))
            await examine(engine, report.add)
        return report.end()

    return run(work)


class Report:
    """What was found, told as it comes; as one document only at the end."""

    def __init__(self, app: App, *, width: int) -> None:
        self._app, self._width = app, width
        self._found: list[Finding] = []

    def add(self, finding: Finding) -> None:
        """Tell of one thing that was tried."""
        self._found.append(finding)
        if self._app.output == "jsonl":
            self._app.out(line(as_json(finding)))
        elif self._app.output == "name":
            self._app.out(f"{finding.what} {finding.name}")
        elif self._app.for_people:
            self._row(finding)

    def _row(self, finding: Finding) -> None:
        state = click.style(finding.state.ljust(7), fg=COLORS.get(finding.state))
        name = _label(self._app, finding.name)
        self._app.tell(f"{state}  {finding.what:8}  {name:{self._width}}  {plain(finding.detail)}".rstrip())
        if finding.hint:
            about = finding.what if finding.name == "-" else f"{finding.what} {name}"
            self._app.say(f"  {about}: {finding.hint}")

    def end(self) -> int:
        """Return the exit code."""
        if self._app.output == "json":
            self._app.document(DoctorDocument(checks=tuple(self._found)))
        problems = [one for one in self._found if one.state == "problem"]
        if not problems:
            return _exit.DONE
        refused = all(isinstance(one, Refused) for one in problems)
        return _exit.CREDENTIALS if refused else _exit.FAILED


def _label(app: App, name: str) -> str:
    """Shorten the name of a database that is a file below this folder."""
    return name.removeprefix(f"sqlite:///{app.cwd.resolve()}/")
