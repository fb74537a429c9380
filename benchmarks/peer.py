"""The peers' way: one read for each run, through the provider's own SDK."""

from collections.abc import Sequence

import anyio
from cartesia import AsyncCartesia

from benchmarks.world import KEY


def sdk(url: str) -> AsyncCartesia:
    """Open the SDK's client, at the version that the sandbox speaks."""
    version = {"cartesia-version": "2026-03-01"}
    return AsyncCartesia(api_key=KEY, base_url=f"{url}/cartesia", max_retries=0, default_headers=version)


async def one_by_one(url: str, ids: Sequence[str]) -> None:
    """Read each after the other."""
    async with sdk(url) as client:
        for remote_id in ids:
            await client.fine_tunes.retrieve(remote_id)


async def twenty_at_once(url: str, ids: Sequence[str]) -> None:
    """Read twenty at a time."""
    limiter = anyio.CapacityLimiter(20)

    async with sdk(url) as client:

        async def read(remote_id: str) -> None:
            async with limiter:
                await client.fine_tunes.retrieve(remote_id)

        async with anyio.create_task_group() as tasks:
            for remote_id in ids:
                tasks.start_soon(read, remote_id)
