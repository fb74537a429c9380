"""Waiting for jobs: what counts as there, and what as gone wrong."""

from collections.abc import Collection, Iterable, Mapping, Sequence

import anyio

from orchestrator.cli._app import App
from orchestrator.cli._follow import Following
from orchestrator.cli._text import plain
from orchestrator.core.run import FINAL, Reason, Status
from orchestrator.errors import UnknownName, UsageError
from orchestrator.store.store import Store
from orchestrator.store.views import Standing

LOOK_SECONDS = 0.5
MOST_NAMES = 3
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


async def settle(
    app: App,
    store: Store,
    names: Sequence[str],
    *,
    wanted: Status | None = None,
    timeout: float | None = None,
    needs_credentials: bool = False,
    again: str | None = None,
) -> int:
    """Wait until every job is there, and return the exit code: 0, 5 where one went wrong, 3 out of time.

    With `needs_credentials` it is 4 as soon as all that is left waits for credentials. `again` is the
    command that takes it up again, where that is not `wait`.
    """
    again = again or "orchestrator " + (f"wait {' '.join(names)}" if len(names) <= MOST_NAMES else "watch")
    with Following(app, await store.views.usual(), again=again) as following, anyio.move_on_after(timeout):
        while True:
            standings = await known(store, names)
            following.show(standings)
            verdicts = [arrived(standing, wanted) for standing in standings]
            if None not in verdicts:
                return 0 if all(verdicts) else 5
            left = [one for one, verdict in zip(standings, verdicts, strict=True) if verdict is None]
            if needs_credentials and all(one.run and one.run.reason is Reason.CREDENTIALS for one in left):
                return 4
            await anyio.sleep(LOOK_SECONDS)
    app.say("timed out; the runs continue: orchestrator status")
    return 3


async def known(store: Store, names: Sequence[str], declared: Collection[str] = ()) -> Sequence[Standing]:
    """Return the standings of `names`; raises `UnknownName` for one that is not known.

    Of the jobs that the files declare, `declared`, some may not be recorded yet.
    """
    standings = await store.views.standings(list(names))
    there = {standing.record.name for standing in standings}
    for name in names:
        if name not in there:
            every = {standing.record.name for standing in await store.views.standings()}
            raise unrecorded(name, every, declared)
    return standings


def unrecorded(name: str, recorded: Iterable[str], declared: Collection[str] = ()) -> UsageError:
    """Say of a job that nothing is recorded of it, and which one may have been meant."""
    if name in declared:
        return UsageError(f"{name} is declared, but not recorded yet", hint="orchestrator apply")
    hint = "orchestrator status lists them; apply records new ones"
    return UnknownName(f"no job {name} is recorded", name, {*recorded, *declared}, hint=hint)


def differences(app: App, declared: Mapping[str, object], there: Mapping[str, object]) -> None:
    """Say where what the provider has is not what was asked for, before a person takes it in."""
    for key, value in there.items():
        if key in declared and declared[key] != value:
            app.say(f"  {key} differs: declared {plain(declared[key])}, at the provider {plain(value)}")
