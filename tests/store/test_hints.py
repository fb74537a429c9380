"""What another process wrote is told from what we wrote ourselves."""

import sqlite3
from pathlib import Path

import anyio
import pytest
from core.make import a_run

from orchestrator.core.run import Status
from orchestrator.store.database import Database
from orchestrator.store.hints import changes
from orchestrator.store.store import Store

from .make import put

# PostgreSQL tells by itself.
pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
def file(database: Database) -> Path:
    """The database's file."""
    assert database.path is not None
    return database.path


async def test_only_the_commits_of_others_count(store: Store, file: Path) -> None:
    before = await store.database.others()
    await put(store, a_run(status=Status.RUNNING))
    await store.daemons.beat(host="here", pid=1, address=None)
    assert await store.database.others() == before
    with sqlite3.connect(file) as other:
        other.execute("update runs set looks = 1")
    other.close()
    after = await store.database.others()
    assert after != before
    await put(store, a_run(status=Status.PENDING, id="another", marker="ft1-another", attempt=2))
    assert await store.database.others() == after


async def test_the_first_hint_comes_at_once_and_the_next_with_a_commit(store: Store, file: Path) -> None:
    stop = anyio.Event()
    hints = changes(store.database, store.project, stop)
    await anext(hints)
    with sqlite3.connect(file) as other:
        other.execute("update accounts set failures = 0")
        other.execute("insert into accounts (project, name, kind, failures, epoch) values ('p','n','k',0,0)")
    other.close()
    await anext(hints)
    stop.set()
