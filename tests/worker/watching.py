"""An engine that watches open runs at the sandbox, whose ledger is the oracle; the clock moves when told."""

import os
import shutil
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from conformance.drivers import CASES, Bench
from core.make import a_record
from store.make import Clock, put, rows

from orchestrator.app.kinds import kinds
from orchestrator.config.load import load
from orchestrator.core.changeset import new_run
from orchestrator.core.job import Job, Policy, fingerprint
from orchestrator.core.run import Run, Status
from orchestrator.providers.registry import registry
from orchestrator.store.accounts import Account
from orchestrator.store.database import Database
from orchestrator.store.store import Store
from orchestrator.store.tables import runs
from orchestrator.worker.engine import Engine
from orchestrator.worker.journal import Journal

INTERVAL = timedelta(seconds=30)
PLACES: Mapping[str, str] = {"cartesia": "", "oxen": 'namespace = "acme"\nrepo = "{name}"\n'} | {
    "cloudflare": 'account_id = "{name}"\n',
    "cohere": "",
}
WORDS: Mapping[str, str] = {
    "cartesia": "training",
    "oxen": "running",
    "cloudflare": "created",
    "cohere": "STATUS_FINETUNING",
}
"""What each provider says of a run that is under way."""

DONE: Mapping[str, str] = {"cartesia": "completed", "oxen": "completed", "cohere": "STATUS_READY"}
FAILED: Mapping[str, str] = {"cartesia": "failed", "oxen": "errored", "cohere": "STATUS_FAILED"}


@dataclass(kw_only=True)
class Watching:
    """One account with open runs, and the two hands on it: the engine's and the provider's."""

    kind: str
    folder: Path
    store: Store
    engine: Engine
    clock: Clock
    bench: Bench
    ids: list[str] = field(default_factory=list)

    async def seed(self, count: int, *, watched: Sequence[int] | None = None, **fields: Any) -> list[str]:
        """Let `count` trainings be under way, and watch all or those at these places, oldest first."""
        made = self.bench.seed(count, **({"status": WORDS[self.kind]} | fields if self.states else fields))
        known = made if watched is None else [made[place] for place in watched]
        await self.watch(*known)
        return made

    @property
    def states(self) -> bool:
        """Whether the provider tells of states at all."""
        return self.kind != "cloudflare"

    async def watch(self, *remote_ids: str, **changes: Any) -> None:
        """Store an open run for each id."""
        first = len(self.ids)
        self.ids += remote_ids
        made = [self.a_run(first + place, one, **changes) for place, one in enumerate(remote_ids)]
        for start in range(0, len(made), 500):
            part = made[start : start + 500]
            await put(self.store, *part, records=[a_record(self.a_job(run.job)) for run in part])

    def a_job(self, name: str) -> Job:
        spec = CASES[self.kind].spec
        digest = fingerprint({"job": name}, inputs={})
        policy = Policy()
        return Job(name=name, account=self.kind, kind=self.kind, spec=spec, fingerprint=digest, policy=policy)

    def a_run(self, number: int, remote_id: str, **changes: Any) -> Run:
        now = self.clock.now
        run = new_run(self.a_job(f"job-{number}"), self.store.project, 1, now, f"run-{number:05}")
        open_run = replace(run, status=Status.RUNNING, provider_status=WORDS[self.kind], remote_id=remote_id)
        return replace(open_run, submitted_at=now, sent_at=now, updated_at=now, sequence=3, **changes)

    async def tick(self, after: timedelta = INTERVAL) -> int:
        """Let the account be due, go round once, and return how many requests that made."""
        before = self.requests
        self.clock.forward(after)
        await self.engine.round(self.kind)
        return self.requests - before

    @property
    def requests(self) -> int:
        """How many requests the provider has had, of anybody: nobody else is there."""
        counts: Mapping[str, int] = self.bench.ledger()["counts"][self.kind]
        return counts.get("requests", 0)

    @property
    def asked(self) -> list[str]:
        """The operations of the latest requests, oldest first."""
        return [row["operation"] for row in self.bench.requests()]

    async def account(self) -> Account:
        return {one.name: one for one in await self.store.accounts.all()}[self.kind]

    async def rows(self) -> list[dict[str, Any]]:
        """Return the runs as they are, column by column."""
        return await rows(self.store.database, runs)

    async def statuses(self) -> list[str]:
        return [row["status"] for row in await self.rows()]

    async def told(self) -> list[str]:
        """Return the types of all events."""
        return [str(event.type) for event in await self.store.views.events()]

    @property
    def commits(self) -> int:
        """SQLite's own count of the transactions that changed the file, from its header."""
        path = self.store.database.path
        assert path is not None
        with path.open("rb") as file:
            file.seek(24)
            return int.from_bytes(file.read(4), "big")


@asynccontextmanager
async def watching(
    kind: str,
    url: str,
    folder: Path,
    migrated: Path,
    *,
    deadline: float | None = None,
    lines: str = "",
    owner: str | None = None,
    jitter: float = 1.0,
    env: Mapping[str, str] | None = None,
) -> AsyncIterator[Watching]:
    """Open an engine on an SQLite file of its own in `folder`, or on the one that stands there."""
    case, path = CASES[kind], folder / "state.db"
    name = f"{kind}-{folder.name}-{folder.parent.name}".replace(".", "-")[-60:].strip("-")
    if not path.exists():
        shutil.copyfile(migrated, path)
        os.chmod(path, 0o600)
    account = f"acme/{name}" if kind == "oxen" else name
    file = folder / "jobs.toml"
    file.write_text(
        f'[orchestrator]\nproject = "acme"\npoll_interval = "30s"\n'
        f'[providers.{kind}]\nbase_url = "{url}{case.prefix}"\n'
        f"requests_per_second = 10000\n{PLACES[kind].format(name=name)}{lines}"
    )
    clock = Clock()
    clock.now = datetime.now(UTC)
    variable, *_ = registry()[kind].credentials.get("api_token", registry()[kind].credentials["api_key"])
    keys = {variable: f"{name}:canary-key-0123456789", **(env or {})}
    with Database(f"sqlite:///{path}", clock=clock) as database:
        store = Store(database, "acme", owner=owner)
        journal = Journal(folder / "replies.jsonl")
        manifest = load([file], kinds(), {})
        engine = Engine(store, manifest, journal, keys, jitter=lambda: jitter, deadline=deadline)
        await engine.prepare()
        bench = Bench(kind, url, account, folder, (await engine.worker(kind)).provider)
        bench.account = account
        try:
            yield Watching(kind=kind, folder=folder, store=store, engine=engine, clock=clock, bench=bench)
        finally:
            bench.close()
            await engine.close()


def of(*kinds: str) -> pytest.MarkDecorator:
    """Play a test on an account of each of these kinds."""
    return pytest.mark.parametrize("watched", kinds, indirect=True)
