"""Calls on bound runs, by the books of the sandbox."""

from dataclasses import replace
from pathlib import Path

import anyio
import pytest
from conformance.drivers import FAST

from orchestrator.sandbox import spawn

from .watching import watching


@pytest.mark.timeout(60)
async def test_a_deletion_that_is_asked_for_during_a_cancellation_is_sent_as_well(
    tmp_path: Path, migrated: Path
) -> None:
    with spawn(None, replace(FAST, latency_ms=300)) as slow:
        async with watching("oxen", slow, tmp_path, migrated) as watched:
            await watched.seed(1)
            (run,) = await watched.store.work.open_runs()
            await watched.store.decisions.cancel(run, "cancel", watched.engine.routing)
            watched.bench.fault("status", operation="cancel", code=400)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(watched.engine.round, "oxen")
                while (await watched.rows())[0]["owner"] is None:
                    await anyio.lowlevel.checkpoint()
                await watched.store.decisions.cancel(run, "delete", watched.engine.routing)
            await watched.engine.round("oxen")
            assert watched.asked.count("delete") == 1  # the refused cancellation is in no ledger
            (row,) = await watched.rows()
            assert (row["status"], row["message"]) == ("cancelled", "deleted at the provider")
