"""Waiting for jobs: beside a daemon by reading the database, without one by doing its work meanwhile."""

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager

import anyio

from orchestrator.app.settled import End, ended
from orchestrator.app.status import known
from orchestrator.cli import _exit
from orchestrator.cli._alone import daemon_lock
from orchestrator.cli._app import App
from orchestrator.cli._wait import settle
from orchestrator.core.run import Status
from orchestrator.daemon.daemon import Daemon
from orchestrator.store.opening import daemon_runs
from orchestrator.store.store import Store
from orchestrator.worker.engine import Engine

HOOK_SECONDS = 10
"""How long to wait for hooks at the end; the next daemon sends what is left."""


async def see_through(
    app: App,
    store: Store,
    engine: Callable[[], AbstractAsyncContextManager[Engine]],
    names: Sequence[str],
    *,
    wanted: Status | None = None,
    timeout: float | None = None,
    again: str | None = None,
) -> int:
    """Wait for `names`, beside a daemon or as one, on what `engine` opens; returns the exit code."""
    ends = math.inf if timeout is None else anyio.current_time() + timeout
    while True:
        left = max(0, ends - anyio.current_time())
        end = await ended(store, await known(store, names), wanted)
        # What was refused when somebody last tried is tried again first.
        if end in (None, End.DENIED) and not await daemon_runs(store):
            async with engine() as opened:
                return await _attend(app, opened, names, wanted=wanted, timeout=left, again=again)
        code = await settle(app, store, names, wanted=wanted, timeout=left, again=again, beside=True)
        if code is not None:
            return code
        app.say("The daemon is gone, so this command asks the providers itself.")


async def _attend(
    app: App,
    engine: Engine,
    names: Sequence[str],
    *,
    wanted: Status | None,
    timeout: float,
    again: str | None,
) -> int:
    """Submit what is recorded, poll and fire hooks until `names` have ended; returns the exit code."""
    daemon = Daemon(engine=engine, reload=lambda: engine.manifest, reconciles=False)
    code: int | None = None

    async def watch() -> None:
        nonlocal code
        code = await settle(app, engine.store, names, wanted=wanted, timeout=timeout, again=again)
        for _ in range(HOOK_SECONDS * 10 if code != _exit.TOO_LONG else 0):
            if not await engine.store.outbox.due():
                break
            await anyio.sleep(0.1)
        daemon.stop()

    with daemon_lock(engine.store):
        # Before anything is judged, what was refused once is tried again.
        await engine.store.accounts.reconsider(*engine.manifest.accounts)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(watch)
            await daemon.run()
            tasks.cancel_scope.cancel()
    return _exit.DONE if code is None else code
