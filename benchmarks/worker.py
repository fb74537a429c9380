"""One measurement in a process of its own: `python -m benchmarks.worker TASK ...`, JSON on stdout."""

import json
import logging
import resource
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import structlog

from benchmarks import floor, peer
from benchmarks.world import Provider, fill, world


async def timed(work: Callable[[], Awaitable[object]]) -> tuple[float, float]:
    """Return the CPU and the wall time that `work` takes."""
    cpu, wall = time.process_time(), time.perf_counter()
    await work()
    return time.process_time() - cpu, time.perf_counter() - wall


def middle(found: list[tuple[float, float]]) -> dict[str, float]:
    return {
        "cpu": statistics.median(cpu for cpu, _ in found),
        "wall": statistics.median(wall for _, wall in found),
    }


async def quiet(folder: Path, url: str, rounds: int) -> dict[str, Any]:
    """Tick beside the floor, turn by turn, while nothing changes."""
    provider, ours, least = Provider(url), [], []
    connection = floor.connect(folder / "state.db")
    async with world(folder) as here, floor.client(url) as client:
        await here.tick()
        await floor.tick(client, connection)
        requests, commits = provider.requests(), here.commits
        ours += [await timed(here.tick) for _ in range(rounds)]
        requests, commits = provider.requests() - requests, here.commits - commits
        least += [await timed(lambda: floor.tick(client, connection)) for _ in range(rounds)]
    return {
        "ours": middle(ours),
        "floor": middle(least),
        "requests": requests / rounds,
        "commits": commits / rounds,
    }


async def memory(folder: Path, url: str) -> dict[str, Any]:
    """Tick three times and return the most memory that was ever resident, in MiB."""
    async with world(folder) as here:
        for _ in range(3):
            await here.tick()
    return {"mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, "url": url}


async def changed(folder: Path, url: str, side: str) -> dict[str, Any]:
    """Take over one run in ten, twice, our way or by plain SQL; the first time only warms up."""
    provider, ids = Provider(url), json.loads((folder / "ids.json").read_text())
    connection = floor.connect(folder / "state.db")
    async with world(folder) as here, floor.client(url) as client:
        for offset in (0, 5):
            for remote_id in ids[offset::10]:
                provider.set(remote_id, "training")
            commits = here.commits
            work = here.tick if side == "ours" else lambda: floor.tick(client, connection)
            cpu, wall = await timed(work)
        running = connection.execute("select count(*) from runs where status = 'running'").fetchone()[0]
        told = connection.execute("select count(*) from deliveries").fetchone()[0]
        done = {"running": running, "told": told, "commits": here.commits - commits}
    return {"cpu": cpu, "wall": wall, **done}


async def submit(folder: Path, url: str, side: str, count: int) -> dict[str, Any]:
    """Buy `count` fine-tunes, our way or by the floor's."""
    provider, connection = Provider(url), floor.connect(folder / "state.db")
    async with world(folder) as here, floor.client(url) as client:
        if side == "ours":
            await here.declare(count)
        before = provider.requests()
        work = here.submit if side == "ours" else lambda: floor.submit(client, connection, count)
        cpu, wall = await timed(work)
        sent = "select count(*) from runs where status in ('queued', 'running')"
        bought = connection.execute(sent).fetchone()[0]
    return {"cpu": cpu, "wall": wall, "bought": bought, "requests": provider.requests() - before}


async def sdk(folder: Path, url: str, way: str) -> dict[str, Any]:
    """Read each run by itself."""
    ids = json.loads((folder / "ids.json").read_text())
    read = peer.one_by_one if way == "one" else peer.twenty_at_once
    await read(url, ids[:20])
    cpu, wall = await timed(lambda: read(url, ids))
    return {"cpu": cpu, "wall": wall}


async def main(*given: str) -> Any:
    task, *words = given
    folder = Path(words[0])
    match task:
        case "fill":
            await fill(folder)
            return None
        case "quiet":
            return await quiet(folder, words[1], int(words[2]))
        case "memory":
            return await memory(folder, words[1])
        case "changed":
            return await changed(folder, words[1], words[2])
        case "submit":
            return await submit(folder, words[1], words[2], int(words[3]))
        case "sdk":
            return await sdk(folder, words[1], words[2])
    raise SystemExit(f"no task {task}")


if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    print(json.dumps(anyio.run(main, *sys.argv[1:])))
