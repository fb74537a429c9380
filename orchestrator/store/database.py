"""Engines, transactions and hints, on SQLite and PostgreSQL; every trap here is in `docs/reliability.md`."""

import os
import sqlite3
import stat
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Self, TypeVar

import anyio
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool

from orchestrator.errors import SchemaError, StoreError

T = TypeVar("T")

REVISION: Final = "0001"
"""The schema that this release speaks; a test holds it equal to the head of `migrations/`."""

WRITE_SECONDS: Final = 30.0
CACHE_KIB: Final = 512
"""Pages that a connection of SQLite keeps. Its own 2000 of each of our five fill as the file grows, which
looks like a leak of 8 KiB a run; the system's cache has the same pages."""
SAFE_WAL = (3, 51, 3)
"""Below this SQLite may lose a WAL reset (`doctor` says so), hence the rollback journal there."""

CHANNEL: Final = "orchestrator"


@dataclass(frozen=True, slots=True)
class Tx:
    """An open transaction and the database's own idea of now."""

    connection: AsyncConnection
    now: datetime

    async def execute(self, statement: sa.Executable, parameters: Any = None) -> sa.CursorResult[Any]:
        """Run one statement; a list of `parameters` runs it for each."""
        result: sa.CursorResult[Any] = await self.connection.execute(statement, parameters)
        return result

    def insert(self, table: sa.Table) -> postgresql.Insert | sqlite.Insert:
        """Begin an insert that says what is done `on_conflict`; both databases spell it alike."""
        name = self.connection.dialect.name
        return postgresql.insert(table) if name == "postgresql" else sqlite.insert(table)


class Database:
    """One database; `clock` replaces its clock in simulations."""

    def __init__(self, url: str, *, clock: Callable[[], datetime] | None = None) -> None:
        self.url = sa.make_url(url)
        self.sqlite = self.url.get_backend_name() == "sqlite"
        self._clock = clock
        self._turn = anyio.Lock()
        self.listeners: list[Callable[[], None]] = []
        """Called after each commit of this process that others may wait for."""
        self._writer, self._reader = self._sqlite() if self.sqlite else self._postgres()

    @property
    def path(self) -> Path | None:
        """The file of an SQLite database."""
        return Path(self.url.database) if self.sqlite and self.url.database else None

    def _sqlite(self) -> tuple[AsyncEngine, AsyncEngine]:
        url = self.url.set(drivername="sqlite+aiosqlite")
        wal = sqlite3.sqlite_version_info >= SAFE_WAL

        def engine(begin: str, size: int, *, query_only: bool) -> AsyncEngine:
            made = create_async_engine(
                url,
                hide_parameters=True,
                poolclass=AsyncAdaptedQueuePool,
                pool_size=size,
                max_overflow=0,
                connect_args={"timeout": 10},
            )

            @sa.event.listens_for(made.sync_engine, "connect")
            def connect(connection: Any, _record: object) -> None:
                # Without this the driver opens transactions by its own rules and loses updates.
                connection.isolation_level = None
                cursor = connection.cursor()
                cursor.execute(f"PRAGMA journal_mode={'WAL' if wal else 'TRUNCATE'}")
                cursor.execute(f"PRAGMA synchronous={'FULL' if wal else 'EXTRA'}")
                cursor.execute(f"PRAGMA cache_size={-CACHE_KIB}")
                cursor.execute("PRAGMA foreign_keys=ON")
                cursor.execute(f"PRAGMA query_only={'ON' if query_only else 'OFF'}")
                cursor.close()

            @sa.event.listens_for(made.sync_engine, "begin")
            def start(connection: sa.Connection) -> None:
                connection.exec_driver_sql(begin)

            return made

        return engine("BEGIN IMMEDIATE", 1, query_only=False), engine("BEGIN", 4, query_only=True)

    def _postgres(self) -> tuple[AsyncEngine, AsyncEngine]:
        url = self.url.set(drivername="postgresql+psycopg")
        try:
            engine = create_async_engine(
                url,
                hide_parameters=True,
                pool_size=5,
                max_overflow=5,
                pool_pre_ping=True,
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
        # Statements of one read see one state: by default each would see its own.
        return engine, engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)

    async def write(self, work: Callable[[Tx], Awaitable[T]], *, quiet: bool = False) -> T:
        """Run `work` in one durable transaction that cancellation cannot cut in two.

        `quiet` tells no listener: for writes that nobody acts on.
        """
        with explained(self), anyio.fail_after(WRITE_SECONDS, shield=True):
            async with self._turn_if_alone(), self._writer.begin() as connection:
                outcome = await work(Tx(connection, await self._now(connection)))
        for listener in () if quiet else self.listeners:
            listener()
        return outcome

    async def read(self, work: Callable[[Tx], Awaitable[T]]) -> T:
        """Run `work` on one consistent view; it must not write."""
        with explained(self), anyio.fail_after(WRITE_SECONDS, shield=True):
            async with self._reader.connect() as connection, connection.begin():
                return await work(Tx(connection, await self._now(connection)))

    async def others(self) -> int:
        """Return a number that another process's commit changes, and none of ours; SQLite only."""
        with anyio.fail_after(WRITE_SECONDS, shield=True), explained(self):
            # As the connection sees it that all our writes go through: its own it does not count.
            async with self._turn, self._writer.connect() as connection:
                driver: Any = (await connection.get_raw_connection()).driver_connection
                ((version,),) = await driver.execute_fetchall("PRAGMA data_version")
                return int(version)

    @asynccontextmanager
    async def _turn_if_alone(self) -> AsyncIterator[None]:
        if not self.sqlite:
            yield
            return
        async with self._turn:  # one writer at a time: waiting here is cheaper than SQLite's busy loop
            yield

    async def _now(self, connection: AsyncConnection) -> datetime:
        if self._clock is not None:
            return self._clock()
        if self.sqlite:
            return datetime.now(UTC)
        # One round trip: the limits for this transaction alone, and the clock that leases are counted by.
        row = await connection.exec_driver_sql(
            "select set_config('statement_timeout', '25s', true), set_config('lock_timeout', '10s', true),"
            " set_config('idle_in_transaction_session_timeout', '30s', true),"
            " set_config('synchronous_commit', 'on', true), clock_timestamp()"
        )
        *_, moment = row.one()
        assert isinstance(moment, datetime)  # noqa: S101 - what PostgreSQL gives for clock_timestamp()
        return moment.astimezone(UTC)

    async def listen(self, channel: str) -> AsyncIterator[None]:
        """Yield for every notification on a PostgreSQL `channel`; raises `OSError` when it is cut off."""
        driver_error = self._writer.dialect.loaded_dbapi.Error
        try:
            async with self._writer.connect() as connection:
                raw = await connection.get_raw_connection()
                driver: Any = raw.driver_connection
                await driver.set_autocommit(True)
                await driver.execute(f"LISTEN {channel}")
                try:
                    async for _ in driver.notifies():
                        yield
                finally:
                    with anyio.CancelScope(shield=True):
                        await connection.invalidate()
        except (sa.exc.SQLAlchemyError, driver_error, RuntimeError) as error:
            raise OSError(f"notifications ended: {type(error).__name__}") from error

    async def revision(self) -> str | None:
        """Return the schema's revision, None for an empty database."""

        def read(connection: sa.Connection) -> str | None:
            if not sa.inspect(connection).has_table("alembic_version"):
                return None
            found = connection.exec_driver_sql("select version_num from alembic_version").scalar()
            return None if found is None else str(found)

        with explained(self):
            async with self._reader.connect() as connection:
                return await connection.run_sync(read)

    async def require_schema(self) -> None:
        """Raise `SchemaError` where the schema is not this release's."""
        found = await self.revision()
        if found == REVISION:
            return
        if found is None or found < REVISION:
            raise SchemaError(
                f"the database has schema {found or 'none'}, this release needs {REVISION}",
                hint="orchestrator db upgrade",
            )
        raise SchemaError(
            f"the database has the newer schema {found}, this release knows {REVISION}",
            hint="use the release that wrote it, or a newer one",
        )

    async def faults(self) -> list[str]:
        """Return what is wrong with an SQLite file, as SQLite sees it; PostgreSQL looks after its own."""
        if not self.sqlite:
            return []

        async def work(tx: Tx) -> list[str]:
            sound = await tx.connection.exec_driver_sql("PRAGMA integrity_check(10)")
            orphans = await tx.connection.exec_driver_sql("PRAGMA foreign_key_check")
            found = [str(row[0]) for row in sound if row[0] != "ok"]
            return found + [f"a row of {row.table} has lost its {row.parent}" for row in orphans]

        return await self.read(work)

    async def aclose(self) -> None:
        """Close every connection."""
        with anyio.CancelScope(shield=True):
            await self._writer.dispose()
            await self._reader.dispose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


@contextmanager
def explained(database: Database) -> Iterator[None]:
    """Turn a driver's error into one that says what to do; it never holds a parameter."""
    where = database.url.set(query={}).render_as_string(hide_password=True)
    try:
        yield
    except sa.exc.IntegrityError as error:
        text = _first_line(error)
        raise StoreError(f"{where}: a row that must be unique is there already: {text}") from error
    except sa.exc.DBAPIError as error:
        text = _first_line(error)
        raise StoreError(f"{where}: {text}", hint=_hint(text)) from error
    except sa.exc.SQLAlchemyError as error:
        raise StoreError(f"{where}: {type(error).__name__}") from error
    except TimeoutError as error:
        raise StoreError(f"{where}: no answer within {WRITE_SECONDS:.0f} s") from error


def _first_line(error: sa.exc.DBAPIError) -> str:
    # PostgreSQL's further lines hold the values of the row.
    return next(iter(str(error.orig).splitlines()), type(error.orig).__name__)


def _hint(text: str) -> str | None:
    hints = {
        "no such table": "orchestrator db upgrade",
        "readonly": "make the file and its folder writable for this user",
        "unable to open": "check that the folder exists and is writable",
        "disk": "free some space; nothing was sent, nothing is lost",
        "not a database": "this file is something else: name another `database`",
        "malformed": "restore a backup (`orchestrator db backup` makes them)",
        "locked": "another process holds it for long; try again",
        "refused": "is the server running, and the address right?",
    }
    return next((hint for part, hint in hints.items() if part in text), None)


def prepare_file(path: Path) -> None:
    """Make an SQLite file's folder (0700, with its own .gitignore) and the file (0600).

    Raises `StoreError` where the file is not ours alone or cannot be made.
    """
    try:
        if not path.parent.exists():
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            if path.parent.name == ".orchestrator":
                (path.parent / ".gitignore").write_text("*\n")
        if not path.exists():
            # Should another process be quicker, this opens what it made.
            os.close(os.open(path, os.O_CREAT | os.O_NOFOLLOW | os.O_RDWR, 0o600))
        mode = path.stat()
    except OSError as error:
        raise StoreError(
            f"cannot make {path}: {error.strerror}",
            hint="make the folder writable, or name another place with ORCHESTRATOR_DATABASE",
        ) from error
    if stat.S_IMODE(mode.st_mode) & 0o077:
        raise StoreError(
            f"{path} can be read by others (mode {stat.S_IMODE(mode.st_mode):o})", hint=f"chmod 600 {path}"
        )
    if mode.st_uid != os.geteuid():
        raise StoreError(f"{path} belongs to another user", hint="run as that user")
