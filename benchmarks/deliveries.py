"""Deliveries a second and from commit to receipt, beside the floors and beside Procrastinate.

PostgreSQL is that of `ORCHESTRATOR_TEST_POSTGRES`, else one of its own, with fsync on.
"""

import asyncio
import json
import logging
import os
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

from benchmarks.table import line  # noqa: E402
from orchestrator.core.run import Run, Status  # noqa: E402
from orchestrator.core.transition import finish  # noqa: E402
from orchestrator.hooks.webhook import Webhook, WebhookOptions, make_secret  # noqa: E402
from orchestrator.store.commit import Routing  # noqa: E402
from orchestrator.store.database import Database  # noqa: E402
from orchestrator.store.file import prepare_file  # noqa: E402
from orchestrator.store.migrate import upgrade  # noqa: E402
from orchestrator.store.store import Store  # noqa: E402
from orchestrator.store.tables import deliveries  # noqa: E402
from orchestrator.worker.deliver import Deliverer  # noqa: E402

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
    with Database(url) as database:
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


def compare(name: str, mine: list[float], beside: str, least: list[float], goal: str) -> None:
    ours, other = statistics.median(mine), statistics.median(least)
    line(name, f"{ours:,.0f} /s", f"{beside} {other:,.0f} /s", ours / other, goal)


def cut(found: list[float]) -> tuple[float, float]:
    """Return the middle and the 99th percentile."""
    cuts = statistics.quantiles(found, n=100)
    return cuts[49], cuts[98]


def bench(name: str, make: Callable[[], str], count: int, rounds: int) -> tuple[list[float], list[float]]:
    """Measure one kind of database: ours and its floor by turns, then the latency; returns both of ours."""
    mine, least = [], []
    for _ in range(rounds):
        with receiving() as receiver:
            mine.append(asyncio.run(ours(make(), receiver, count)))
            least.append(asyncio.run(committing(make(), receiver, count)))
    compare(f"deliveries, {name}", mine, "POST and commit each", least, "aim 1")
    with receiving() as receiver:
        late = asyncio.run(latencies(make(), receiver))
    middle, worst = cut(late)
    line(f"commit to receipt, {name}: p50", f"{middle:.1f} ms", goal="<= 15 ms")
    line(f"commit to receipt, {name}: p99", f"{worst:.1f} ms", goal="<= 50 ms")
    return mine, late


def peer(python: str, make: Callable[[], str], count: int, rounds: int) -> tuple[list[float], list[float]]:
    """Measure Procrastinate on the same server: deliveries a second, and milliseconds to the receipt."""
    rates, late = [], []
    for _ in range(rounds):
        with receiving() as receiver:
            script = str(ROOT / "benchmarks" / "queue_peer.py")
            command = [python, script, make(), receiver, str(count), str(SINGLES)]
            found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            rates.append(float(found["rate"]))
            at = dict(httpx.get(f"{receiver}/times").json())
            late = [(at[one] - then) / 1e6 for one, then in found["committed"].items() if one in at]
    return rates, late


def sqlite(folder: Path) -> str:
    """Return the address of a new file."""
    path = Path(tempfile.mkdtemp(dir=folder)) / "state.db"
    prepare_file(path)
    return f"sqlite:///{path}"


def show(count: int, rounds: int, python: str | None) -> None:
    """Measure all of it; PostgreSQL's lines are left out where there is none, its peer's without `python`."""
    os.environ["BENCH_SECRET"] = make_secret()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    with receiving() as receiver:
        rates = [asyncio.run(floor(count, receiver, None)) for _ in range(rounds)]
    line("deliveries, floor with no commit", f"{statistics.median(rates):,.0f} /s")
    with tempfile.TemporaryDirectory() as folder:
        bench("SQLite", lambda: sqlite(Path(folder)), count, rounds)
    try:
        with serving(durable=True) as server:
            mine, late = bench("PostgreSQL", server.make, count, rounds)
            if python is None:
                return
            rates, others = peer(python, server.make, count, rounds)
    except Unavailable as error:
        line("deliveries, PostgreSQL", f"none: {error}")
        return
    compare("deliveries, PostgreSQL", mine, "Procrastinate", rates, ">= 1")
    for place, name in enumerate(("p50", "p99")):
        ours, other = cut(late)[place], cut(others)[place]
        line(
            f"commit to receipt, PostgreSQL: {name}",
            f"{ours:.1f} ms",
            f"Procrastinate {other:.1f} ms",
            ours / other,
            "aim 1",
        )
