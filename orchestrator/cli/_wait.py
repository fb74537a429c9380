"""Waiting for jobs: what counts as there, as gone wrong, and how it is shown meanwhile."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import anyio
import click

from orchestrator.cli._app import App
from orchestrator.cli._text import COLORS, age, plain
from orchestrator.core.run import FINAL, Reason, Status
from orchestrator.errors import UsageError
from orchestrator.store.store import Store
from orchestrator.store.views import Standing

LOOK_SECONDS = 0.5
ORDER = (
    Status.PENDING,
    Status.SUBMITTING,
    Status.IN_DOUBT,
    Status.QUEUED,
    Status.RUNNING,
    Status.SUCCEEDED,
)


def arrived(standing: Standing, wanted: Status | None) -> bool | None:
    """Say whether a job is where it should be: True, False where it can no longer be, None while it may."""
    run = standing.run
    if run is None:
        return None
    if wanted is None:
        if run.status.final:
            return run.status is Status.SUCCEEDED
        return False if run.stuck else None
    if run.status is wanted:
        return True
    if run.status is Status.SUCCEEDED:
        return wanted in ORDER
    if run.status in FINAL or run.stuck:
        return False
    past = wanted in ORDER and run.status in ORDER and ORDER.index(run.status) > ORDER.index(wanted)
    return True if past and wanted is not Status.IN_DOUBT else None


class Progress:
    """Says on stderr when a job moves: a line for each change, so that a log reads as well as a terminal."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._seen: dict[str, str] = {}
        self._begun = datetime.now(UTC)

    def show(self, standings: Sequence[Standing]) -> None:
        """Print what changed since it was last asked."""
        for standing in standings:
            text = _state(standing)
            if self._seen.get(standing.record.name) != text:
                self._seen[standing.record.name] = text
                self._app.say(f"{age(self._begun):>5}  {standing.record.name}: {text}")


def _state(standing: Standing) -> str:
    run = standing.run
    if run is None:
        return f"held: {plain(standing.record.held)}" if standing.record.held else "pending"
    text = click.style(run.status, fg=COLORS.get(run.status))
    if run.reason:
        text += f" ({run.reason})"
    if run.provider_status:
        text += f", {standing.record.account} says {plain(run.provider_status)}"
    if run.status is Status.SUCCEEDED and run.result:
        text += f", model {plain(run.result.get('model'))}"
    elif run.message and (run.status in FINAL or run.reason or run.status is Status.PENDING):
        text += f": {plain(run.message)}"
    return text


async def settle(
    app: App,
    store: Store,
    names: Sequence[str],
    *,
    wanted: Status | None = None,
    timeout: float | None = None,
    needs_credentials: bool = False,
) -> int:
    """Wait until every job is there, and return the exit code: 0, 5 where one went wrong, 3 out of time.

    With `needs_credentials` it is 4 as soon as all that is left waits for credentials.
    """
    progress = Progress(app)
    with anyio.move_on_after(timeout):
        while True:
            standings = await known(store, names)
            progress.show(standings)
            verdicts = [arrived(standing, wanted) for standing in standings]
            if None not in verdicts:
                return 0 if all(verdicts) else 5
            left = [one for one, verdict in zip(standings, verdicts, strict=True) if verdict is None]
            if needs_credentials and all(one.run and one.run.reason is Reason.CREDENTIALS for one in left):
                return 4
            await anyio.sleep(LOOK_SECONDS)
    app.say("waited too long; the runs go on: orchestrator status")
    return 3


async def known(store: Store, names: Sequence[str]) -> Sequence[Standing]:
    """Return the standings of `names`; raises `UsageError` for one that is not known."""
    standings = await store.views.standings(list(names))
    missing = [name for name in names if name not in {standing.record.name for standing in standings}]
    if missing:
        raise UsageError(
            f"no job {missing[0]} is recorded", hint="orchestrator status lists them; apply records new ones"
        )
    return standings


def differences(app: App, declared: Mapping[str, object], there: Mapping[str, object]) -> None:
    """Say where what the provider has is not what was asked for, before a person takes it in."""
    for key, value in there.items():
        if key in declared and declared[key] != value:
            app.say(f"  {key} differs: declared {plain(declared[key])}, there {plain(value)}")
