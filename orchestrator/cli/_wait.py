"""Waiting for jobs, and saying how that ended."""

from collections.abc import Collection, Sequence

import anyio

from orchestrator.app.settled import End, ended, refusals
from orchestrator.app.status import known
from orchestrator.cli import _exit
from orchestrator.cli._app import App
from orchestrator.cli._follow import Following
from orchestrator.cli._text import plain
from orchestrator.core.run import Status
from orchestrator.store.opening import daemon_runs
from orchestrator.store.store import Store

LOOK_SECONDS = 0.5
MOST_NAMES = 3
CODES = {End.SUCCEEDED: _exit.DONE, End.FAILED: _exit.UNSUCCESSFUL, End.DENIED: _exit.CREDENTIALS}
GONE_SECONDS = 15
"""How long the daemon must be gone before a waiting command does its work."""


async def settle(
    app: App,
    store: Store,
    names: Sequence[str],
    *,
    wanted: Status | None = None,
    timeout: float | None = None,
    again: str | None = None,
    beside: bool = False,
) -> int | None:
    """Wait until every job has ended, or got to `wanted`, and return the exit code.

    `again` is the command that resumes it, if not `wait`. `beside` a daemon it returns
    None once that one is gone for good.
    """
    again = again or "orchestrator " + (f"wait {' '.join(names)}" if len(names) <= MOST_NAMES else "watch")
    seen, end = anyio.current_time(), None
    with Following(app, await store.views.usual(), again=again) as following, anyio.move_on_after(timeout):
        while True:
            standings = await known(store, names)
            following.show(standings)
            end = await ended(store, standings, wanted)
            if end is not None:
                break
            if not beside or await daemon_runs(store):
                seen = anyio.current_time()
            elif anyio.current_time() - seen > GONE_SECONDS:
                return None
            await anyio.sleep(LOOK_SECONDS)
    if end is End.DENIED:
        app.say(await denied(store, [one.record.account for one in standings]))
    if end is not None:
        return CODES[end]
    app.say("Timed out; the runs continue: orchestrator status")
    return _exit.TOO_LONG


async def denied(store: Store, accounts: Collection[str]) -> str:
    """Say why credentials of `accounts` are refused, and what becomes of the runs that wait for them."""
    whys = [f"{name}: {plain(why)}" for name, why in (await refusals(store)).items() if name in accounts]
    later = (
        "What waits for this stays recorded: once the key is there, the next `orchestrator up` or "
        "`orchestrator apply` sends it. `orchestrator cancel JOB` gives it up."
    )
    return "\n".join([*whys, later])
