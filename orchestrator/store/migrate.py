"""Bringing a database to the schema of this release; apart from the rest, since Alembic is slow to load."""

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import anyio
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from anyio import to_thread
from sqlalchemy.pool import NullPool

from orchestrator import crashpoint
from orchestrator.errors import StoreError
from orchestrator.store.database import Database
from orchestrator.store.engines import postgres_engine
from orchestrator.store.schema import REVISION

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
    with anyio.CancelScope(shield=True):  # an upgrade that was begun is finished
        await to_thread.run_sync(_upgrade_sqlite if database.sqlite else _upgrade_postgres, database)
    await database.require_schema()
    return before


def _upgrade_sqlite(database: Database) -> None:
    # Foreign keys are off, and set so before BEGIN: rebuilding a table would cascade through them.
    engine = sa.create_engine(database.url, hide_parameters=True, poolclass=NullPool)

    @sa.event.listens_for(engine, "connect")
    def connect(connection: sqlite3.Connection, _record: object) -> None:
        connection.isolation_level = None
        connection.execute("PRAGMA foreign_keys=OFF")
        connection.execute("PRAGMA synchronous=EXTRA")

    @sa.event.listens_for(engine, "begin")
    def begin(connection: sa.Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    with _alone(database.path):
        found = database.revision_now()
        if found == REVISION:
            return  # another process did it while we waited
        if found is not None and database.path is not None:
            kept = database.path.with_name(f"{database.path.name}.before-{REVISION}")
            kept.unlink(missing_ok=True)
            copy(database.path, kept)
        with database.explained, engine.begin() as connection:
            _upgrade_and_check(connection)


def _upgrade_and_check(connection: sa.Connection) -> None:
    command.upgrade(config(connection), "head")
    crashpoint.reach("migrating")
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


@contextmanager
def _alone(path: Path | None) -> Iterator[None]:
    if path is None:
        yield
        return
    file = path.with_name(f"{path.name}.upgrade")
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o600), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _upgrade_postgres(database: Database) -> None:
    engine = postgres_engine(database.url, bare=database.bare)
    try:
        with database.explained, engine.begin() as connection:
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(LOCK)))
            command.upgrade(config(connection), "head")
    finally:
        engine.dispose()
