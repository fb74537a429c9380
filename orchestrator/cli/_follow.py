"""Following jobs: on a terminal one table that stays in place, elsewhere a line for each change."""

import os
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, Self, TextIO

import click

from orchestrator.app.documents import JobDocument
from orchestrator.app.status import job
from orchestrator.cli._app import App
from orchestrator.cli._options import typed
from orchestrator.cli._standing import standing
from orchestrator.cli._table import COLORS, Table
from orchestrator.cli._text import age, plain
from orchestrator.core.run import FINAL, Status
from orchestrator.store.views import JobState


class Progress:
    """Prints a line on stderr for each change of a job."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._seen: dict[str, str] = {}
        self._begun = datetime.now(UTC)

    def show(self, standings: Sequence[JobState]) -> None:
        """Print what has changed since the last call."""
        for one in standings:
            text = _state(one)
            if self._seen.get(one.record.name) != text:
                self._seen[one.record.name] = text
                self._app.say(f"{age(self._begun):>5}  {one.record.name}: {text}")


def _state(one: JobState) -> str:
    run = one.run
    if run is None:
        return f"held: {plain(one.record.held)}" if one.record.held else "pending"
    text = click.style(run.status, fg=COLORS.get(run.status))
    if run.reason:
        text += f" ({run.reason})"
    if run.provider_status:
        text += f", {one.record.account} says {plain(run.provider_status)}"
    if run.status is Status.SUCCEEDED and run.result:
        text += f", model {plain(run.result.get('model'))}"
    elif run.message and (run.status in FINAL or run.reason or run.status is Status.PENDING):
        text += f": {plain(run.message)}"
    return text


class Following:
    """Follows jobs until its `with` block ends, for whatever reason, and then prints a summary.

    `again` is the command that resumes it; `stream` is where a terminal's table is drawn.
    """

    def __init__(
        self, app: App, usual: Mapping[str, timedelta], *, again: str, stream: TextIO = sys.stderr
    ) -> None:
        self._app, self._usual, self._again, self._stream = app, usual, again, stream
        self._lines = Progress(app)
        self._jobs: list[JobDocument] = []
        self._live: Any = None
        # The log of -v would tear the table.
        self._draws = stream.isatty() and os.environ.get("TERM") != "dumb" and not (app.quiet or app.verbose)

    def __enter__(self) -> Self:
        if self._draws:
            from orchestrator.cli._screen import InPlace

            self._live = InPlace(self._stream, color=self._app.color_on(self._stream))
        return self

    def show(self, standings: Sequence[JobState], notes: Sequence[str] = ()) -> None:
        """Show the jobs as they are now; `notes` go below a terminal's table."""
        self._jobs = [job(one, None) for one in standings]
        if self._live is None:
            self._lines.show(standings)
            return
        moving_first = sorted(self._jobs, key=lambda one: one.status.final)
        self._live.show(self._table(moving_first), [typed(note, sandbox=self._app.sandbox) for note in notes])

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.close(self._table(self._jobs) if self._jobs else None)
        if self._jobs:
            self._app.say(self._summary())

    def _table(self, jobs: Sequence[JobDocument]) -> Table:
        return self._app.typed(standing(jobs, self._usual, wide=False))

    def _summary(self) -> str:
        """Count how the jobs ended, and name the commands for those that failed or go on."""
        states = Counter(one.status for one in self._jobs)
        counted = ", ".join(f"{states[status]} {status}" for status in Status if states[status])
        left = [one.job for one in self._jobs if not one.status.final]
        failed = [one.job for one in self._jobs if one.status in (Status.FAILED, Status.LOST)]
        said = [f"{counted}."]
        if failed:
            said.append(f"Why, in full: orchestrator why {failed[0]}")
        if left:
            said.append(f"Runs at a provider continue there; resume with: {self._again}")
        return "\n".join(said)
