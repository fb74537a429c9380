"""Stages for the crash tests: a few beside each other, each with its own sandbox, proxy and database."""

import os
import random
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from queue import SimpleQueue

import anyio
import pytest
from postgres import Postgres

from crash.harness import Outcome, Scenario, Stage, stage
from crash.report import record
from crash.runner import Runner
from orchestrator.store.database import Database
from orchestrator.store.migrate import upgrade

Crew = Callable[[Sequence[Scenario]], list[Outcome]]


@pytest.fixture(scope="session")
def crash_seed() -> int:
    """The seed of this run: CRASH_SEED, else a new one; it is printed with every failure."""
    return int(os.environ.get("CRASH_SEED") or random.SystemRandom().randrange(10**6))


@pytest.fixture(scope="session")
def crew(
    tmp_path_factory: pytest.TempPathFactory, postgres: Postgres, _migrated_file: Path, crash_seed: int
) -> Iterator[Crew]:
    """Plays scenarios, several at a time, and returns their outcomes; CRASH_STAGES says how many."""
    beside = "PYTEST_XDIST_WORKER" in os.environ
    count = int(os.environ.get("CRASH_STAGES", "2" if beside else "4"))
    package = os.environ.get("CRASH_PACKAGE")
    free: SimpleQueue[Stage] = SimpleQueue()
    with ExitStack() as stack:
        runner = Runner(Path(package) if package else None)
        stack.callback(runner.close)
        root = tmp_path_factory.mktemp("crash")
        for number in range(count):
            url = postgres.make()
            stack.callback(postgres.drop, url)
            anyio.run(_migrate, url)
            folder = root / f"{number}"
            folder.mkdir()
            free.put(stack.enter_context(stage(folder, runner, url, _migrated_file)))
        pool = stack.enter_context(ThreadPoolExecutor(count))

        def play(scenario: Scenario) -> Outcome:
            mine = free.get()
            try:
                outcome = mine.run(scenario)
            finally:
                free.put(mine)
            record(crash_seed, outcome)
            return outcome

        yield lambda scenarios: list(pool.map(play, scenarios))


async def _migrate(url: str) -> None:
    with Database(url) as database:
        await upgrade(database)
