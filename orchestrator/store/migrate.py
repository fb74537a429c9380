"""Bringing a database to the schema of this release; apart from the rest, since Alembic is slow to load."""

import fcntl
import os
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import anyio
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from anyio import to_thread
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from orchestrator import crashpoint
from orchestrator.errors import StoreError
from orchestrator.store.database import REVISION, Database

PACKAGED = Path(__file__).parent.parent / "_migrations"
SOURCE = Path(__file__).parent.parent.parent / "migrations"
LOCK = 6_007_314
"""The advisory lock under which PostgreSQL is upgraded, so that several daemons may start at once."""


def scripts() -> Path:
    """Return the folder of the revisions: inside the wheel, or beside the package in a checkout."""
    return PACKAGED if PACKAGED.is_dir() else SOURCE


def config(connection: sa.Connection | None = None) -> Config:
    """Make Alembic's configuration, on an open `connection` where one is given."""
    made = Config()
    made.set_main_option("script_location", str(scripts()).replace("%", "%%"))
    made.attributes["connection"] = connection
    return made


async def upgrade(database: Database) -> str | None:
    """Upgrade to this release's schema and return the revision found before.

    An SQLite file is copied to `FILE.before-REVISION` first. Raises `SchemaError` where the schema is
    newer than this release.
    """
    before = await database.revision()
    if before == REVISION:
        return before
    if before is not None and before > REVISION:
        await database.require_schema()
    with anyio.CancelScope(shield=True):  # a connection that is cut off while it opens is never closed
        await (_upgrade_sqlite(database) if database.sqlite else _upgrade_postgres(database))
    await database.require_schema()
    return before


async def _upgrade_sqlite(database: Database) -> None:
    # Foreign keys are off, and set so before BEGIN: rebuilding a table would cascade through them.
    engine = create_async_engine(
        database.url.set(drivername="sqlite+aiosqlite"), hide_parameters=True, poolclass=NullPool
    )

    @sa.event.listens_for(engine.sync_engine, "connect")
    def connect(connection: object, _record: object) -> None:
        connection.isolation_level = None  # type: ignore[attr-defined]  # the driver's own class
        cursor = connection.cursor()  # type: ignore[attr-defined]
        cursor.execute("PRAGMA foreign_keys=OFF")
        cursor.execute("PRAGMA synchronous=EXTRA")
        cursor.close()

    @sa.event.listens_for(engine.sync_engine, "begin")
    def begin(connection: sa.Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    async with _alone(database.path):
        found = await database.revision()
        if found == REVISION:
            return  # another process did it while we waited
        if found is not None and database.path is not None:
            kept = database.path.with_name(f"{database.path.name}.before-{REVISION}")
            kept.unlink(missing_ok=True)
            await to_thread.run_sync(copy, database.path, kept)
        try:
            with database.explained:
                async with engine.begin() as connection:
                    await connection.run_sync(_upgrade_and_check)
        finally:
            await engine.dispose()


def _upgrade_and_check(connection: sa.Connection) -> None:
    command.upgrade(config(connection), "head")
    crashpoint.reach("C31")
    if connection.exec_driver_sql("PRAGMA foreign_key_check").first() is not None:
        raise StoreError("the upgrade would leave rows without their parents; nothing was changed")


def copy(source: Path, target: Path) -> None:
    """Copy a live SQLite file, as of one moment, into a new file for this user alone."""
    try:
        os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        with closing(sqlite3.connect(source)) as live, closing(sqlite3.connect(target)) as made:
            live.backup(made)
    except (OSError, sqlite3.Error) as error:
        raise StoreError(f"cannot copy {source} to {target}: {error}") from error


@asynccontextmanager
async def _alone(path: Path | None) -> AsyncIterator[None]:
    if path is None:
        yield
        return
    file = path.with_name(f"{path.name}.upgrade")
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o600), "w") as lock:
        # In a thread: whom we wait for may be a task of this very loop.
        await to_thread.run_sync(fcntl.flock, lock, fcntl.LOCK_EX)
        yield


async def _upgrade_postgres(database: Database) -> None:
    engine = create_async_engine(
        database.url.set(drivername="postgresql+psycopg"),
        hide_parameters=True,
        poolclass=NullPool,
        connect_args={"prepare_threshold": None},
    )
    try:
        with database.explained:
            async with engine.begin() as connection:
                await connection.execute(sa.select(sa.func.pg_advisory_xact_lock(LOCK)))
                await connection.run_sync(lambda sync: command.upgrade(config(sync), "head"))
    finally:
        await engine.dispose()
