"""Engines, transactions and hints, on SQLite and PostgreSQL; every trap here is in `docs/reliability.md`."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
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
from orchestrator.store.driver import OURS, set_up_sqlite, tables_of, without_credentials
from orchestrator.store.file import Footing, uri
from orchestrator.store.trouble import WRITE_SECONDS, explained

T = TypeVar("T")

REVISION: Final = "0001"
"""The schema that this release speaks; a test holds it equal to the head of `migrations/`."""

CHANNEL: Final = "orchestrator"
MEMORY: Final = "sqlite://"


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
    """One database; `clock` replaces its clock in simulations.

    `reading` opens an SQLite file without write access where there is none. `bare` gives a PostgreSQL server
    none of the credentials that the client library finds by itself.
    """

    def __init__(
        self,
        url: str,
        *,
        clock: Callable[[], datetime] | None = None,
        reading: bool = False,
        bare: bool = False,
    ) -> None:
        self.url = sa.make_url(url)
        self.sqlite = self.url.get_backend_name() == "sqlite"
        self._clock, self._reading, self._bare = clock, reading, bare
        self._turn = anyio.Lock()
        self.listeners: list[Callable[[], None]] = []
        """Called after each commit of this process that others may wait for."""
        self._footing = Footing(self.path) if self.path else None
        self._writer, self._reader = self._sqlite() if self.sqlite else self._postgres()

    @property
    def name(self) -> str:
        """Say which database it is, without a secret."""
        return self.url.set(query={}).render_as_string(hide_password=True)

    @property
    def explained(self) -> AbstractContextManager[None]:
        """Turn the driver's errors inside into ours."""
        return explained(self.name, bare=self._bare)

    @property
    def path(self) -> Path | None:
        """The file of an SQLite database."""
        return Path(self.url.database) if self.sqlite and self.url.database else None

    def _sqlite(self) -> tuple[AsyncEngine, AsyncEngine]:
        # The URI makes no file: one that was removed must not come back empty.
        url = self.url.set(drivername="sqlite+aiosqlite")
        if self.path is not None:
            url = url.set(database=uri(self.path, reading=self._reading), query={"uri": "true"})

        def engine(begin: str, size: int, *, query_only: bool) -> AsyncEngine:
            made = create_async_engine(
                url,
                hide_parameters=True,
                poolclass=AsyncAdaptedQueuePool,
                pool_size=size,
                max_overflow=0,
                connect_args={"timeout": 10},
            )

            set_up_sqlite(made.sync_engine, query_only=query_only)

            @sa.event.listens_for(made.sync_engine, "begin")
            def start(connection: sa.Connection) -> None:
                connection.exec_driver_sql(begin)

            return made

        if self.path is None:
            # One connection is all there is of it.
            alone = engine("BEGIN", 1, query_only=False)
            return alone, alone
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
            if self._bare:
                without_credentials(engine.sync_engine)
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
        with self.explained, anyio.fail_after(WRITE_SECONDS, shield=True), self._standing():
            async with self._turn_if_alone(), self._writer.begin() as connection:
                outcome = await work(Tx(connection, await self._now(connection)))
        for listener in () if quiet else self.listeners:
            listener()
        return outcome

    async def read(self, work: Callable[[Tx], Awaitable[T]]) -> T:
        """Run `work` on one consistent view; it must not write."""
        with self.explained, anyio.fail_after(WRITE_SECONDS, shield=True), self._standing():
            async with self._reader.connect() as connection, connection.begin():
                return await work(Tx(connection, await self._now(connection)))

    async def others(self) -> int:
        """Return a number that another process's commit changes, and none of ours; SQLite only."""
        with anyio.fail_after(WRITE_SECONDS, shield=True), self.explained:
            # As the connection sees it that all our writes go through: its own it does not count.
            async with self._turn, self._writer.connect() as connection:
                driver: Any = (await connection.get_raw_connection()).driver_connection
                ((version,),) = await driver.execute_fetchall("PRAGMA data_version")
                return int(version)

    @contextmanager
    def _standing(self) -> Iterator[None]:
        """Raise `StoreRemoved` where what is done inside is done to a file that nobody can find any more."""
        if self._footing is None:
            yield
            return
        self._footing.require()
        try:
            yield
        except Exception:
            self._footing.require()  # which explains more than what SQLite makes of it
            raise
        self._footing.settle()
        self._footing.require()

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
        """Return the schema's revision, None for an empty database.

        Raises `StoreError` where the tables are another program's.
        """
        with self.explained, anyio.fail_after(WRITE_SECONDS, shield=True):
            async with self._reader.connect() as connection:
                tables = set(await connection.run_sync(tables_of))
                if tables and not tables >= OURS:
                    raise StoreError(
                        f"{self.name} holds another program's tables ({', '.join(sorted(tables)[:3])}, …); "
                        "nothing was changed",
                        hint="name another `database`",
                    )
                if not tables:
                    return None
                found = await connection.scalar(sa.text("select version_num from alembic_version"))
                return None if found is None else str(found)

    async def require_schema(self) -> None:
        """Raise `SchemaError` where the schema is not this release's."""
        found = await self.revision()
        if found == REVISION:
            return
        if found is None:
            raise SchemaError("the database is empty", hint="orchestrator apply, up or db upgrade fills it")
        if found < REVISION:
            raise SchemaError(
                f"the database has the older schema {found}, this release needs {REVISION}",
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
