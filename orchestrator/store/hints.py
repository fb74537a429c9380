"""Hints that another process wrote something; the truth is polled, these only hurry it."""

from collections.abc import AsyncIterator, Collection
from pathlib import Path
from typing import Any, Final

import anyio
import structlog
from watchfiles import awatch

from orchestrator.errors import StoreError
from orchestrator.store.commit import CHANNEL
from orchestrator.store.database import Database
from orchestrator.store.engines import connect_arguments

log: structlog.stdlib.BoundLogger = structlog.get_logger("orchestrator.store")

RECONNECT_SECONDS: Final = 5.0
STEP_MS: Final = 250
"""How long changes of an SQLite file are gathered before they are one hint."""
LOOK_MS: Final = 5_000
"""How often an SQLite file is looked at where nothing was heard of it."""


async def changes(database: Database, project: str, stop: anyio.Event) -> AsyncIterator[None]:
    """Yield at once, and whenever another process may have written something of `project`, until `stop`."""
    source = _sqlite(database, stop) if database.sqlite else _postgres(database, project)
    async for _ in source:
        yield


async def _sqlite(database: Database, stop: anyio.Event) -> AsyncIterator[None]:
    assert database.path is not None  # noqa: S101 - an SQLite database of ours is a file
    seen = await _others(database)
    yield
    async for _ in _touched(*_written(database.path), stop):
        # What we wrote ourselves has rung already; only what others wrote is news.
        before, seen = seen, await _others(database)
        if before != seen:
            yield


def _written(path: Path) -> tuple[Path, Collection[str]]:
    """Return the folder of an SQLite file, and what is written in it at a commit."""
    path = path.absolute()
    return path.parent, {str(path.with_name(path.name + end)) for end in ("", "-wal", "-journal")}


async def _touched(folder: Path, files: Collection[str], stop: anyio.Event) -> AsyncIterator[None]:
    """Yield whenever one of these `files` was written, and now and then anyway."""
    while not stop.is_set():
        try:
            async for _ in awatch(
                folder,
                stop_event=stop,  # a thread waits there, which heeds no cancellation
                watch_filter=lambda _, changed: changed in files,
                debounce=STEP_MS,
                step=STEP_MS,
                rust_timeout=LOOK_MS,
                yield_on_timeout=True,
                recursive=False,
            ):
                yield
        except (OSError, RuntimeError) as error:
            # No folder, or no more watches to be had: then it is only looked at now and then.
            log.info("hints.lost", error=type(error).__name__)
        with anyio.move_on_after(LOOK_MS / 1000):
            await stop.wait()
        yield


async def _others(database: Database) -> int:
    try:
        return await database.others()
    except StoreError:
        return -1  # the loops find out, and say so


async def _postgres(database: Database, project: str) -> AsyncIterator[None]:
    while True:
        try:
            async for heard in listen(database, CHANNEL):
                if heard == project:
                    yield
        except OSError as error:
            log.warning("hints.lost", error=type(error).__name__)
        await anyio.sleep(RECONNECT_SECONDS)
        yield


async def listen(database: Database, channel: str) -> AsyncIterator[str]:
    """Yield the payload of every notification on a PostgreSQL `channel`; raises `OSError` when it is cut off.

    It has a connection of its own: LISTEN is lost in a transaction pooler, and then polling must do.
    """
    import psycopg

    positional, options = connect_arguments(database.writer, bare=database.bare)
    try:
        connection: Any = await psycopg.AsyncConnection.connect(*positional, **options, autocommit=True)
        try:
            await connection.execute(f"LISTEN {channel}")
            async for notification in connection.notifies():
                yield notification.payload
        finally:
            with anyio.CancelScope(shield=True):
                await connection.close()
    except (psycopg.Error, RuntimeError) as error:
        raise OSError(f"notifications ended: {type(error).__name__}") from error
