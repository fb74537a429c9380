"""Stores over both databases, with a clock that moves when told."""

from collections.abc import AsyncIterator

import pytest

from orchestrator.store.database import Database
from orchestrator.store.store import Store

from .make import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def database(database_url: str, clock: Clock) -> AsyncIterator[Database]:
    """A migrated, empty database; the test runs on each kind."""
    with Database(database_url, clock=clock) as opened:
        yield opened


@pytest.fixture
async def peer(database_url: str, clock: Clock) -> AsyncIterator[Store]:
    """The store of another process: connections of its own to the same database."""
    with Database(database_url, clock=clock) as opened:
        yield Store(opened, "acme", owner="peer")


@pytest.fixture
def store(database: Database) -> Store:
    return Store(database, "acme", owner="me")
