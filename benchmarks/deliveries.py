"""Deliveries a second and from commit to receipt, beside the floors and beside Procrastinate.

`python -m benchmarks.deliveries [--count N] [--peer PYTHON]`; PYTHON has Procrastinate and httpx.
PostgreSQL is that of `ORCHESTRATOR_TEST_POSTGRES`, else one of its own, with fsync on; without one its rows
are left out.
"""

import argparse
import asyncio
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import anyio
import httpx
import sqlalchemy as sa
import structlog

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from core.make import a_job, a_record, a_route, a_run  # noqa: E402 - the tests' own makers of rows
from postgres import Unavailable, serving  # noqa: E402
from store.make import put  # noqa: E402

from orchestrator.core.run import Run, Status, finish  # noqa: E402
from orchestrator.engine.deliver import Deliverer  # noqa: E402
from orchestrator.hooks.webhook import Webhook, WebhookOptions, make_secret  # noqa: E402
from orchestrator.store.commit import Routing  # noqa: E402
from orchestrator.store.database import Database, prepare_file  # noqa: E402
from orchestrator.store.migrate import upgrade  # noqa: E402
from orchestrator.store.store import Store  # noqa: E402
from orchestrator.store.tables import deliveries  # noqa: E402

IN_FLIGHT = 20
SINGLES = 200
GAP = 0.03
ROUTING = Routing(hooks={"team": a_route("team", "job.running")})
BODY = b"x" * 480


@contextmanager
def receiving() -> Iterator[str]:
    """Run the receiver and return its address."""
    command = [sys.executable, str(ROOT / "benchmarks" / "counter.py")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield f"http://127.0.0.1:{process.stdout.readline().strip() if process.stdout else ''}"
        finally:
            process.kill()


@asynccontextmanager
async def stored(url: str) -> AsyncIterator[Store]:
    async with Database(url) as database:
        await upgrade(database)
        yield Store(database, "acme")


async def fill(store: Store, prefix: str, count: int) -> list[Run]:
    """Declare jobs that `team` hears of, each with a queued run."""
    jobs = [a_job(f"{prefix}-{number}", hooks=("team",)) for number in range(count)]
    runs = [a_run(job, status=Status.QUEUED) for job in jobs]
    await put(store, *runs, records=[a_record(job) for job in jobs])
    return runs


async def tell(store: Store, runs: list[Run]) -> None:
    """Commit one event of each run, a hundred at a time."""
    now = await store.now()
    for start in range(0, len(runs), 100):
        some = runs[start : start + 100]
        await store.work.commit([finish(run, now, status=Status.RUNNING) for run in some], ROUTING)


def deliverer(store: Store, url: str) -> Deliverer:
    table = {
        "kind": "webhook",
        "url": f"{url}/hook",
        "secret": {"env": "BENCH_SECRET"},
        "allow_private": True,
    }
    return Deliverer(store=store, hooks={"team": Webhook(WebhookOptions.model_validate(table), ROOT)})


async def ours(url: str, receiver: str, count: int) -> float:
    """Return deliveries a second of a full outbox."""
    async with stored(url) as store:
        await tell(store, await fill(store, "bulk", count))
        sender = deliverer(store, receiver)
        await sender.declare()
        began = time.perf_counter()
        sent = await sender.drain("team")
        rate = count / (time.perf_counter() - began)
        await sender.close()
        if sent != count:
            raise SystemExit(f"{sent} of {count} were sent")
        return rate


async def latencies(url: str, receiver: str) -> list[float]:
    """Return the milliseconds from the commit of single events to the receiver, the loop as in the daemon."""
    async with stored(url) as store:
        runs = await fill(store, "single", SINGLES)
        sender = deliverer(store, receiver)
        await sender.declare()
        bell = anyio.Event()

        def ring() -> None:
            bell.set()

        async def loop() -> None:
            nonlocal bell
            while True:
                await sender.drain("team")
                await bell.wait()
                bell = anyio.Event()

        store.database.listeners.append(ring)
        committed: dict[str, int] = {}
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(loop)
            await anyio.sleep(0.2)
            for run in runs:
                await tell(store, [run])
                committed[run.job] = time.monotonic_ns()
                await anyio.sleep(GAP)
            await anyio.sleep(0.5)
            tasks.cancel_scope.cancel()
        await sender.close()
        jobs = {one.id: one.job or "" for one in await store.outbox.log(most=10_000)}
    async with httpx.AsyncClient() as client:
        times = (await client.get(f"{receiver}/times")).json()
    return [(at - committed[jobs[one]]) / 1e6 for one, at in times if one in jobs]


async def floor(count: int, receiver: str, commit: Callable[[int], Awaitable[None]] | None) -> float:
    """Return POSTs a second of 20 lanes with a client each, and a commit of its own after each."""
    left = iter(range(count))

    async def lane() -> None:
        async with httpx.AsyncClient(verify=False) as client:  # noqa: S501 - it is plain http
            for number in left:
                (await client.post(f"{receiver}/floor", content=BODY)).raise_for_status()
                if commit is not None:
                    await commit(number)

    began = time.perf_counter()
    await asyncio.gather(*(lane() for _ in range(IN_FLIGHT)))
    return count / (time.perf_counter() - began)


async def committing(url: str, receiver: str, count: int) -> float:
    """Return the floor with a commit for each delivery, through the same SQLAlchemy engine."""
    async with stored(url) as store:
        await tell(store, await fill(store, "floor", count))
        ids = [one.id for one in await store.outbox.log(most=count)]

        async def commit(number: int) -> None:
            one = sa.update(deliveries).where(deliveries.c.id == ids[number]).values(state="delivered")
            await store.database.write(lambda tx: tx.execute(one), quiet=True)

        return await floor(count, receiver, commit)


def shown(name: str, rates: list[float]) -> None:
    print(f"{name:<44}{statistics.median(rates):>9.0f} /s", flush=True)


def shown_latency(name: str, found: list[float]) -> None:
    cut = statistics.quantiles(found, n=100)
    print(f"{name:<44}{cut[49]:>9.1f} ms p50 {cut[98]:>7.1f} ms p99  ({len(found)})", flush=True)


def bench(name: str, make: Callable[[], str], count: int, rounds: int) -> None:
    """Measure one kind of database: ours and its floor by turns, then the latency."""
    mine, least = [], []
    for _ in range(rounds):
        with receiving() as receiver:
            mine.append(asyncio.run(ours(make(), receiver, count)))
            least.append(asyncio.run(committing(make(), receiver, count)))
    shown(f"{name}: ours", mine)
    shown(f"{name}: POST and commit each", least)
    with receiving() as receiver:
        shown_latency(f"{name}: commit to receipt, ours", asyncio.run(latencies(make(), receiver)))


def peer(python: str, make: Callable[[], str], count: int, rounds: int) -> None:
    """Measure Procrastinate on the same server."""
    rates, late = [], []
    for _ in range(rounds):
        with receiving() as receiver:
            script = str(ROOT / "benchmarks" / "queue_peer.py")
            command = [python, script, make(), receiver, str(count), str(SINGLES)]
            found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            rates.append(float(found["rate"]))
            at = dict(httpx.get(f"{receiver}/times").json())
            late = [(at[one] - then) / 1e6 for one, then in found["committed"].items() if one in at]
    shown("PostgreSQL: Procrastinate", rates)
    shown_latency("PostgreSQL: commit to receipt, Procrastinate", late)


def sqlite() -> str:
    path = Path(tempfile.mkdtemp(prefix="bench-")) / "state.db"
    prepare_file(path)
    return f"sqlite:///{path}"


def main() -> None:
    """Measure all of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peer", help="a Python with Procrastinate and httpx")
    given = parser.parse_args()
    os.environ["BENCH_SECRET"] = make_secret()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    with receiving() as receiver:
        shown(
            "a client per lane, no commit",
            [asyncio.run(floor(given.count, receiver, None)) for _ in range(3)],
        )
    bench("SQLite", sqlite, given.count, given.rounds)
    try:
        with serving(durable=True) as server:
            bench("PostgreSQL", server.make, given.count, given.rounds)
            if given.peer:
                peer(given.peer, server.make, given.count, given.rounds)
    except Unavailable as error:
        print(f"no PostgreSQL: {error}")
    for folder in Path(tempfile.gettempdir()).glob("bench-*"):
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
