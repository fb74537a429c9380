"""What SQLite and PostgreSQL are told and asked each in its own way."""

import sqlite3
from typing import Any, Final

import sqlalchemy as sa

OURS: Final = frozenset({"alembic_version", "deliveries", "daemons", "runs"})
"""What is there in every schema that this program has ever had."""
NOWHERE: Final = "/dev/null/none"
"""A path where no file can be."""
REQUIRES: Final = 160_000
"""The libpq that can refuse to log in anywhere."""

SAFE_WAL: Final = (3, 51, 3)
"""Below this SQLite may lose a WAL reset (`doctor` says so), hence the rollback journal there."""
CACHE_KIB: Final = 512
"""Pages that a connection of SQLite keeps. Its own 2000 of each of our five fill as the file grows, which
looks like a leak of 8 KiB a run; the system's cache has the same pages."""

_TABLES: Final = {
    "sqlite": "select name from sqlite_master where type in ('table', 'view') and name not glob 'sqlite_*'",
    # Extensions bring tables and views of their own, also to a database that is empty to its owner.
    "postgresql": (
        "select relname from pg_class c where relkind in ('r', 'p', 'v', 'm', 'f')"
        " and relnamespace in (select oid from pg_namespace where nspname = any (current_schemas(false)))"
        " and not exists (select from pg_depend d where d.classid = 'pg_class'::regclass"
        " and d.objid = c.oid and d.deptype = 'e')"
    ),
}


def tables_of(connection: sa.Connection) -> tuple[str, ...]:
    """Return the tables and views that a connection sees, those of the database's own left out."""
    return tuple(connection.exec_driver_sql(_TABLES[connection.dialect.name]).scalars())


def without_credentials(engine: sa.Engine) -> None:
    """Keep the PostgreSQL client from offering a password, certificate or ticket that it finds by itself."""

    @sa.event.listens_for(engine, "do_connect")
    def connect(dialect: Any, _record: object, _given: object, options: dict[str, Any]) -> None:
        # An empty password is one, so that neither PGPASSWORD nor a service's is looked up.
        options |= {"password": "", "passfile": NOWHERE, "sslcert": NOWHERE, "sslkey": NOWHERE}
        options |= {"gssencmode": "disable"}
        if dialect.loaded_dbapi.pq.version() >= REQUIRES:
            options["require_auth"] = "none"


def set_up_sqlite(engine: sa.Engine, *, query_only: bool) -> None:
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
