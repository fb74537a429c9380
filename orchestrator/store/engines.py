"""SQLAlchemy engines for SQLite and PostgreSQL, with the settings that each needs to be safe."""

import sqlite3
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine.cursor import FullyBufferedCursorFetchStrategy
from sqlalchemy.pool import QueuePool

from orchestrator.errors import StoreError

NOWHERE: Final = "/dev/null/none"
"""A path where no file can be."""
REQUIRES: Final = 160_000
"""The libpq that can refuse to log in anywhere."""

SAFE_WAL: Final = (3, 51, 3)
"""Below this SQLite may lose a WAL reset (`doctor` says so), hence the rollback journal there."""
CACHE_KIB: Final = 512
"""Pages that a connection of SQLite keeps. Its own 2000 of each of our five fill as the file grows, which
looks like a leak of 8 KiB a run; the system's cache has the same pages."""
READERS: Final = 4
"""Connections that read an SQLite file beside its one writer."""
POOL: Final = 10
"""Connections to a PostgreSQL server."""
BUSY_SECONDS: Final = 10
"""How long SQLite waits for a lock of another process, and we for a free connection."""


def sqlite_engine(url: sa.URL, begin: str, *, size: int, query_only: bool) -> sa.Engine:
    """Make an engine whose transactions start with the statement `begin`, in whichever thread."""
    engine = sa.create_engine(
        url,
        hide_parameters=True,
        poolclass=QueuePool,
        pool_size=size,
        max_overflow=0,
        pool_timeout=BUSY_SECONDS,
        connect_args={"timeout": BUSY_SECONDS, "check_same_thread": False},
    )
    _set_up(engine, query_only=query_only)

    @sa.event.listens_for(engine, "begin")
    def start(connection: sa.Connection) -> None:
        connection.exec_driver_sql(begin)

    @sa.event.listens_for(engine, "after_cursor_execute")
    def fetch(_connection: object, cursor: Any, *rest: Any) -> None:
        # SQLite would look for rows while they are read, and so see what the next statement changes.
        _statement, _parameters, context, _many = rest
        if cursor.description and not context.isinsert:
            context.cursor_fetch_strategy = FullyBufferedCursorFetchStrategy(cursor)

    return engine


def _set_up(engine: sa.Engine, *, query_only: bool) -> None:
    """Let each connection commit durably, check its references, and leave transactions to us."""
    wal = sqlite3.sqlite_version_info >= SAFE_WAL

    @sa.event.listens_for(engine, "connect")
    def connect(connection: Any, _record: object) -> None:
        # Without this the driver opens transactions by its own rules and loses updates.
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode")
        # To leave or enter WAL would write to the file, which a reader does not know to be ours.
        if not query_only or (not wal and cursor.fetchone() != ("wal",)):
            cursor.execute(f"PRAGMA journal_mode={'WAL' if wal else 'TRUNCATE'}")
        cursor.execute(f"PRAGMA synchronous={'FULL' if wal else 'EXTRA'}")
        cursor.execute(f"PRAGMA cache_size={-CACHE_KIB}")
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.execute(f"PRAGMA query_only={'ON' if query_only else 'OFF'}")
        cursor.close()


def postgres_engine(url: sa.URL, *, bare: bool) -> sa.Engine:
    """Make an engine for a PostgreSQL server.

    `bare` keeps the client library from offering credentials that it finds by itself. Raises `StoreError`
    where the driver is not installed.
    """
    try:
        engine = sa.create_engine(
            url.set(drivername="postgresql+psycopg"),
            hide_parameters=True,
            pool_size=POOL // 2,
            max_overflow=POOL - POOL // 2,
            pool_timeout=BUSY_SECONDS,
            connect_args={
                "prepare_threshold": None,  # a transaction pooler in between has no statement of ours
                "connect_timeout": 10,
                "keepalives_idle": 30,
                "tcp_user_timeout": 30_000,
            },
        )
    except ModuleNotFoundError as error:
        raise StoreError(
            "PostgreSQL needs the psycopg driver",
            hint="pip install 'finetune-orchestrator[postgres]'",
        ) from error
    if bare:
        sa.event.listen(engine, "do_connect", _without_credentials)
    return engine


def connect_arguments(engine: sa.Engine, *, bare: bool) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return what the driver's own `connect` takes to reach the same server in the same way."""
    positional, known = engine.dialect.create_connect_args(engine.url)
    options = dict(known) | {"prepare_threshold": None, "connect_timeout": 10, "keepalives_idle": 30}
    if bare:
        _without_credentials(engine.dialect, None, positional, options)
    return tuple(positional), options


def _without_credentials(dialect: Any, _record: object, _given: object, options: dict[str, Any]) -> None:
    """Keep the PostgreSQL client from offering a password, certificate or ticket that it finds by itself."""
    # An empty password is one, so that neither PGPASSWORD nor a service's is looked up.
    options |= {"password": "", "passfile": NOWHERE, "sslcert": NOWHERE, "sslkey": NOWHERE}
    options |= {"gssencmode": "disable"}
    if dialect.loaded_dbapi.pq.version() >= REQUIRES:
        options["require_auth"] = "none"
