"""Sending what is recorded, where no daemon is running that does it."""

import anyio

from orchestrator.store.opening import daemon_runs
from orchestrator.store.owner import alive
from orchestrator.worker.engine import Engine


async def submit(engine: Engine, *accounts: str) -> bool:
    """Send what is due at `accounts`, unless a daemon is running; says whether one is.

    What cannot be sent now stays recorded.
    """
    if await daemon_runs(engine.store):
        return True
    await engine.store.leases.end(alive)  # else what a dead process claimed would wait for its lease

    async def account(name: str) -> None:
        while await engine.send(name):
            pass

    async with anyio.create_task_group() as tasks:
        for name in accounts:
            tasks.start_soon(account, name)
    return False
