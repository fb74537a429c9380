"""Sending by the books of the sandbox: what must be in place before anything is bought."""

import fcntl
from contextlib import suppress

import anyio
import pytest
from core.make import a_record
from crowded import crowded
from store.make import put

from orchestrator.core.changeset import new_run
from orchestrator.providers.registry import registry

from .watching import Watching, of


async def wanted(watched: Watching, *names: str) -> None:
    """Record a run for each job, not sent yet."""
    jobs = [watched.a_job(name) for name in names]
    steps = registry()[watched.kind].steps
    made = [new_run(job, "acme", 1, watched.clock.now, f"run-{job.name}", steps) for job in jobs]
    await put(watched.store, *made, records=[a_record(job) for job in jobs])


@pytest.mark.timeout(60)
@of("cartesia")
async def test_nothing_is_bought_while_its_reply_might_be_dropped_from_the_journal(watched: Watching) -> None:
    await wanted(watched, "voice")
    with (watched.folder / "replies.jsonl").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # another process is about to cut it, and stands still there
        with suppress(OSError):
            await watched.engine.round(watched.kind)
    assert "create" not in watched.asked
    assert await watched.statuses() == ["pending"]
    await watched.engine.round(watched.kind)
    assert watched.asked.count("create") == 1
    assert await watched.statuses() == ["queued"]


@pytest.mark.timeout(60)
@of("cartesia")
async def test_hooks_that_hang_in_threads_hold_up_no_purchase(watched: Watching) -> None:
    await wanted(watched, "voice")
    with crowded(), anyio.fail_after(20):
        await watched.engine.round(watched.kind)
    assert await watched.statuses() == ["queued"]
