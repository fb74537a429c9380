"""Hints that another process wrote something; the truth is polled, these only hurry it."""

import sqlite3
from collections.abc import AsyncIterator

import anyio
import structlog

from orchestrator.errors import StoreError
from orchestrator.store.database import CHANNEL, Database

log: structlog.stdlib.BoundLogger = structlog.get_logger("orchestrator.store")

LOOK_SECONDS = 0.4
RECONNECT_SECONDS = 5.0


async def changes(database: Database) -> AsyncIterator[None]:
    """Yield whenever another connection may have written; never ends."""
    source = _sqlite(database) if database.sqlite else _postgres(database)
    async for _ in source:
        yield


async def _sqlite(database: Database) -> AsyncIterator[None]:
    # Asked on the loop itself: the pragma takes microseconds, a thread for it would take more.
    assert database.path is not None  # noqa: S101 - an SQLite database of ours is a file
    file = database.path.absolute().as_uri()
    connection = sqlite3.connect(f"{file}?mode=ro", uri=True, timeout=0, isolation_level=None)
    try:
        seen, others = None, -1
        while True:
            now = _version(connection)
            if now is not None and now != seen:
                seen = now
                # What we wrote ourselves has rung already; only what others wrote is news.
                before, others = others, await _others(database)
                if before != others:
                    yield
            await anyio.sleep(LOOK_SECONDS)
    finally:
        connection.close()


async def _others(database: Database) -> int:
    try:
        return await database.others()
    except StoreError:
        return -1  # the loops find out, and say so


def _version(connection: sqlite3.Connection) -> int | None:
    try:
        row = connection.execute("PRAGMA data_version").fetchone()
    except sqlite3.Error:
        return None  # somebody is writing, or the file is in trouble: the loops say which
    return int(row[0])


async def _postgres(database: Database) -> AsyncIterator[None]:
    # A connection of its own: LISTEN is lost in a transaction pooler, and then polling must do.
    while True:
        try:
            async for _ in database.listen(CHANNEL):
                yield
        except OSError as error:
            log.warning("hints.lost", error=type(error).__name__)
        await anyio.sleep(RECONNECT_SECONDS)
        yield
