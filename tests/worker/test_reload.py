"""Job files that are replaced while rounds are under way: it waits for none of them, and loses nothing."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import anyio
import pytest
from conformance.drivers import FAST

from orchestrator.app.kinds import kinds
from orchestrator.config.load import load
from orchestrator.config.manifest import Manifest
from orchestrator.sandbox import spawn

from .watching import INTERVAL, Watching, of, watching

SECOND = timedelta(seconds=1)


def edited(watched: Watching, line: str) -> Manifest:
    """Return the files as they are after an edit of the account's table."""
    file = watched.folder / "jobs.toml"
    file.write_text(file.read_text() + line)
    return load([file], kinds(), {})


@pytest.mark.timeout(60)
@of("cohere")
async def test_a_reload_waits_for_no_round(watched: Watching) -> None:
    await watched.seed(1)
    watched.bench.fault("hang_before", operation="list")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watched.tick)
        await anyio.wait_all_tasks_blocked()  # it holds the account, and hangs
        found = edited(watched, "max_running = 3\n")
        with anyio.fail_after(10):
            await watched.engine.replace(found)
        assert watched.engine.manifest is found
        tasks.cancel_scope.cancel()  # it hangs to this moment
    assert await watched.tick() == 1
    assert (await watched.engine.worker("cohere")).options.max_running == 3


@pytest.mark.timeout(60)
async def test_a_reload_while_the_account_is_refused_is_taken_whole(tmp_path: Path, migrated: Path) -> None:
    with spawn(None, replace(FAST, latency_ms=300)) as slow:
        async with watching("cohere", slow, tmp_path, migrated) as watched:
            await watched.seed(1)
            watched.bench.fault("status", operation="list", code=401)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(watched.tick)
                await anyio.wait_all_tasks_blocked()
                assert (await watched.account()).paused is None
                found = edited(watched, "max_running = 3\n")
                await watched.engine.replace(found)
            assert watched.engine.manifest is found
            assert (await watched.account()).paused is not None
            # Its table has changed since, so that it is tried at once, and by that.
            assert await watched.tick(SECOND) == 1
            assert (await watched.account()).paused is None
            assert await watched.tick(INTERVAL) == 1
