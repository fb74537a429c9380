"""A daemon in a process of its own that goes on buying at the sandbox; prints what it holds after each lap.

Arguments: the sandbox's address, how many laps go by uncounted, how many are counted, and for how many
seconds those are to last at least. In each lap every job is changed, bought again and has succeeded.
"""

import gc
import json
import logging
import os
import sys
import time
from pathlib import Path

import anyio
import structlog

from orchestrator.app.kinds import kinds
from orchestrator.app.opening import open_engine
from orchestrator.config.load import load
from orchestrator.daemon.daemon import Daemon
from orchestrator.store.opening import open_store
from orchestrator.store.store import Store

JOBS = 20
HEAD = """[orchestrator]
project = "soak"
listen = ""
poll_interval = "1s"
hooks = ["log"]
[providers.cartesia]
base_url = "{url}/cartesia"
api_key = {{ file = "key" }}
requests_per_second = 1000
[hooks.log]
kind = "command"
command = ["true"]
events = ["job.succeeded"]
"""
JOB = """[jobs.job-{number}]
provider = "cartesia"
on_change = "replace"
[jobs.job-{number}.spec]
description = "lap {lap}"
language = "en"
model_id = "sonic-3-2026-01-12"
dataset = "ds-{number}"
"""


def write(file: Path, url: str, lap: int) -> None:
    jobs = (JOB.format(number=number, lap=lap) for number in range(JOBS))
    whole = file.with_suffix(".new")
    whole.write_text(HEAD.format(url=url) + "".join(jobs))
    whole.replace(file)


async def settled(store: Store, lap: int) -> bool:
    """Say whether every run of this lap has ended, and whether its hook has heard of it."""
    runs = [one.run for one in await store.views.standings() if one.run is not None]
    done = [run for run in runs if run.status.final and run.spec["description"] == f"lap {lap}"]
    return len(done) == JOBS and not await store.outbox.unsettled()


def held() -> dict[str, int]:
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return {"objects": len(gc.get_objects()), "rss": pages * os.sysconf("SC_PAGE_SIZE")}


async def soak(url: str, warm: int, laps: int, seconds: float) -> None:
    file = Path("jobs.toml").absolute()
    write(file, url, 0)
    env = dict(os.environ)
    file.with_name("key").write_text("soak:key-0123456789")
    file.with_name("key").chmod(0o600)

    manifest = load([file], kinds(), env)
    async with (
        open_store(manifest.settings.address, "soak") as store,
        open_engine(manifest, store, env) as engine,
        anyio.create_task_group() as tasks,
    ):
        daemon = Daemon(engine=engine, reload=lambda: load([file], kinds(), env))
        tasks.start_soon(daemon.run)
        lap, began = 0, time.monotonic()
        while lap < warm + laps or time.monotonic() - began < seconds:
            while not await settled(store, lap):  # noqa: ASYNC110 - the store tells nobody of quiet writes
                await anyio.sleep(0.1)
            if lap == warm:
                began = time.monotonic()
            if lap >= warm:
                row = {"runs": lap * JOBS, "seconds": time.monotonic() - began, **held()}
                print(json.dumps(row), flush=True)  # noqa: T201 - what the test reads
            lap += 1
            write(file, url, lap)
        daemon.stop()


if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    anyio.run(soak, sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]))
