"""A sandbox with fine-tunes in it, and a database that knows them all."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import sqlalchemy as sa

from orchestrator.app.kinds import kinds
from orchestrator.config.load import load
from orchestrator.core.changeset import new_run
from orchestrator.core.job import Job, Policy, fingerprint
from orchestrator.core.plan import AppliedJob
from orchestrator.core.run import Run, Status
from orchestrator.sandbox import Options, spawn
from orchestrator.store.database import Database, Tx
from orchestrator.store.file import prepare_file
from orchestrator.store.migrate import upgrade
from orchestrator.store.rows import applied_job_values, run_values
from orchestrator.store.store import Store
from orchestrator.store.tables import accounts, jobs, runs
from orchestrator.worker.engine import Engine
from orchestrator.worker.journal import Journal

ACCOUNT = "cartesia"
KEY = "bench:key-0123456789"
PROJECT = "bench"
PAGE = 100
CHUNK = 5_000
INTERVAL = timedelta(seconds=30)
SECRET = "whsec_" + "c2VjcmV0" * 4
HEARD = '["job.queued", "job.running", "job.succeeded", "job.failed"]'


class Clock:
    """The database's clock, moved from tick to tick, so that no tick is waited for."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC)

    def __call__(self) -> datetime:
        return self.now

    def tick(self) -> None:
        """Let every account be due."""
        self.now += INTERVAL


class Provider:
    """The sandbox's own hands and books."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._client = httpx.Client(base_url=url, timeout=120, trust_env=False)

    def seed(self, count: int, status: str = "created") -> list[str]:
        """Let `count` fine-tunes be there."""
        order = {"provider": ACCOUNT, "account": "bench", "count": count, "status": status}
        found: list[str] = self._post("/seed", order)["ids"]
        return found

    def set(self, remote_id: str, status: str) -> None:
        """Give one another status."""
        self._post("/set", {"provider": ACCOUNT, "id": remote_id, "status": status})

    def requests(self) -> int:
        """Return how many requests it has had."""
        reply = self._client.get("/_sandbox/ledger", params={"provider": ACCOUNT, "limit": 0})
        counts: Mapping[str, int] = reply.raise_for_status().json()["counts"][ACCOUNT]
        return counts.get("requests", 0)

    def _post(self, path: str, order: Mapping[str, object]) -> Any:
        return self._client.post(f"/_sandbox{path}", json=order).raise_for_status().json()


@contextmanager
def sandbox(*, latency_ms: float = 0) -> Iterator[Provider]:
    """Run the providers in a process of their own."""
    with spawn(None, Options(latency_ms=latency_ms)) as url:
        yield Provider(url)


@contextmanager
def place(provider: Provider, ids: Sequence[str], *, interval: str = "30s", hook: str = "") -> Iterator[Path]:
    """Make a folder with job file and database; in a process of its own, so that no memory of it stays."""
    folder = Path(tempfile.mkdtemp(prefix="orchestrator-bench-"))
    try:
        (folder / "jobs.toml").write_text(_job_file(folder, provider.url, interval, hook))
        (folder / "ids.json").write_text(json.dumps(list(ids)))
        worker("fill", folder)
        yield folder
    finally:
        shutil.rmtree(folder)


def _job_file(folder: Path, url: str, interval: str, hook: str) -> str:
    head = f'[orchestrator]\nproject = "{PROJECT}"\ndatabase = "sqlite:///{folder}/state.db"\nlisten = ""\n'
    account = f'[providers.{ACCOUNT}]\nbase_url = "{url}/cartesia"\nrequests_per_second = 10000\n'
    team = (
        f'[hooks.team]\nkind = "webhook"\nurl = "{hook or "http://127.0.0.1:9/hook"}"\n'
        f'allow_private = true\nevents = {HEARD}\nsecret = {{ env = "TEAM_HOOK_SECRET" }}\n'
    )
    return f'{head}{account}poll_interval = "{interval}"\n{team}'


def environment() -> dict[str, str]:
    """Return the credentials that the job file asks for, and nothing else."""
    return {"CARTESIA_API_KEY": KEY, "TEAM_HOOK_SECRET": SECRET, "PATH": os.environ["PATH"]}


def worker(task: str, *words: object) -> Any:
    """Run one measurement in a fresh process, and return what it found."""
    command = [sys.executable, "-m", "benchmarks.worker", task, *map(str, words)]
    root = Path(__file__).parent.parent
    done = subprocess.run(command, cwd=root, stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def a_job(number: int) -> Job:
    """Declare one job of many."""
    spec = {"description": "A voice", "language": "en", "model_id": "sonic-3", "dataset": f"ds-{number}"}
    return Job(
        name=f"job-{number}",
        account=ACCOUNT,
        kind=ACCOUNT,
        spec=spec,
        fingerprint=fingerprint(spec, inputs={}),
        policy=Policy(hooks=("team",)),
    )


def a_run(number: int, remote_id: str, now: datetime) -> Run:
    """Return its run, which the provider has queued."""
    made = new_run(a_job(number), PROJECT, 1, now, f"run_{number:024}")
    queued = replace(made, status=Status.QUEUED, provider_status="created", remote_id=remote_id)
    return replace(queued, sequence=2, sent_at=now, submitted_at=now, updated_at=now)


async def fill(folder: Path) -> None:
    """Store an open run, of a job of its own, for each id."""
    prepare_file(folder / "state.db")
    ids, now = json.loads((folder / "ids.json").read_text()), datetime.now(UTC)
    with Database(f"sqlite:///{folder}/state.db") as database:
        await upgrade(database)
        for start in range(0, len(ids), CHUNK):
            part = range(start, min(start + CHUNK, len(ids)))
            rows = [run_values(a_run(number, ids[number], now)) for number in part]
            records = [applied_job_values(applied(a_job(number)), PROJECT) for number in part]

            def work(tx: Tx, rows: Any = rows, records: Any = records) -> None:
                tx.execute(sa.insert(jobs), records)
                tx.execute(sa.insert(runs), rows)

            await database.write(work)


def applied(job: Job) -> AppliedJob:
    """Return a job as an apply has recorded it."""
    return AppliedJob(
        name=job.name, account=job.account, kind=job.kind, fingerprint=job.fingerprint, policy=job.policy
    )


@dataclass(kw_only=True)
class World:
    """An engine on such a folder."""

    path: Path
    clock: Clock
    store: Store
    engine: Engine

    async def declare(self, count: int) -> None:
        """Store `count` runs that are not sent yet, of jobs that name no hook."""
        now = self.clock()
        made = [replace(a_job(number), policy=Policy()) for number in range(count)]
        rows = [run_values(new_run(job, PROJECT, 1, now, f"run_{job.name}")) for job in made]
        records = [applied_job_values(applied(job), PROJECT) for job in made]

        def work(tx: Tx) -> None:
            tx.execute(sa.insert(jobs), records)
            tx.execute(sa.insert(runs), rows)

        await self.store.database.write(work)

    async def submit(self) -> None:
        """Send everything that waits."""
        while await self.engine.send(ACCOUNT):
            pass

    async def tick(self) -> None:
        """Let the account be due, and go round once."""
        self.clock.tick()
        await self.engine.round(ACCOUNT)

    @property
    def commits(self) -> int:
        """SQLite's own count of the transactions that changed the file."""
        with self.path.open("rb") as file:
            file.seek(24)
            return int.from_bytes(file.read(4), "big")


@asynccontextmanager
async def world(folder: Path) -> AsyncIterator[World]:
    """Open an engine on `folder`."""
    clock = Clock()
    with Database(f"sqlite:///{folder}/state.db", clock=clock) as database:
        manifest = load([folder / "jobs.toml"], kinds(), {})
        store = Store(database, PROJECT)
        engine = Engine(store, manifest, Journal(folder / "replies.jsonl"), environment())
        await engine.prepare()

        def due(tx: Tx) -> None:
            tx.execute(sa.update(accounts).values(next_poll_at=None))

        await database.write(due)  # the clock of an earlier measurement was ahead of ours
        try:
            yield World(path=folder / "state.db", clock=clock, store=store, engine=engine)
        finally:
            await engine.close()
