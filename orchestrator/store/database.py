"""Transactions on SQLite and PostgreSQL: each a plain function that runs whole in one thread."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from threading import Event
from typing import Any, Final, Self, TypeVar

import anyio
import sqlalchemy as sa
from anyio import CapacityLimiter, to_thread
from sqlalchemy.dialects import postgresql, sqlite

from orchestrator.store.engines import POOL, READERS, postgres_engine, sqlite_engine
from orchestrator.store.file import Footing, uri
from orchestrator.store.schema import require, revision_of
from orchestrator.store.trouble import WRITE_SECONDS, explained

T = TypeVar("T")

MEMORY: Final = "sqlite://"


@dataclass(frozen=True, slots=True)
class Tx:
    """An open transaction and the database's own idea of now."""

    connection: sa.Connection
    now: datetime

    def execute(self, statement: sa.Executable, parameters: Any = None) -> sa.CursorResult[Any]:
        """Run one statement; a list of `parameters` runs it for each."""
        result: sa.CursorResult[Any] = self.connection.execute(statement, parameters)
        return result

    def insert(self, table: sa.Table) -> postgresql.Insert | sqlite.Insert:
        """Begin an insert that says what is done `on_conflict`; both databases spell it alike."""
        name = self.connection.dialect.name
        return postgresql.insert(table) if name == "postgresql" else sqlite.insert(table)


class Database:
    """One database; `clock` replaces its clock in simulations.

    `reading` opens an SQLite file without write access where there is none. `bare` gives a PostgreSQL server
    none of the credentials that the client library finds by itself.

    A transaction is a plain function that is given a `Tx`. `write` and `read` run it in a thread, so that
    the event loop goes on meanwhile; `write_now` and `read_now` run it where they are called, for commands
    that need no event loop.
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
        self.bare = bare
        self._clock, self._reading = clock, reading
        self.listeners: list[Callable[[], None]] = []
        """Called after each commit of this process that others may wait for."""
        self._footing = Footing(self.path) if self.path else None
        self.writer, self._reader = self._sqlite() if self.sqlite else self._postgres()
        # A thread for each connection and no more: whoever waits, waits here, where waiting costs nothing.
        self._writing = CapacityLimiter(1 if self.sqlite else POOL)
        # Where there is one writer, at most one of those who may wait stands in line for it.
        self._yielding = CapacityLimiter(1)
        alone = self._reader is self.writer or not self.sqlite
        self._looking = self._writing if alone else CapacityLimiter(READERS)

    @property
    def name(self) -> str:
        """Say which database it is, without a secret."""
        return self.url.set(query={}).render_as_string(hide_password=True)

    @property
    def explained(self) -> AbstractContextManager[None]:
        """Turn the driver's errors inside into ours."""
        return explained(self.name, bare=self.bare)

    @property
    def path(self) -> Path | None:
        """The file of an SQLite database."""
        return Path(self.url.database) if self.sqlite and self.url.database else None

    def _sqlite(self) -> tuple[sa.Engine, sa.Engine]:
        url = self.url.set(drivername="sqlite+pysqlite")
        if self.path is None:
            # One connection is all there is of it.
            alone = sqlite_engine(url, "BEGIN", size=1, query_only=False)
            return alone, alone
        # The URI makes no file: one that was removed must not come back empty.
        url = url.set(database=uri(self.path, reading=self._reading), query={"uri": "true"})
        return (
            sqlite_engine(url, "BEGIN IMMEDIATE", size=1, query_only=False),
            sqlite_engine(url, "BEGIN", size=READERS, query_only=True),
        )

    def _postgres(self) -> tuple[sa.Engine, sa.Engine]:
        engine = postgres_engine(self.url, bare=self.bare)
        # Statements of one read see one state: by default each would see its own.
        return engine, engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)

    async def write(self, work: Callable[[Tx], T], *, quiet: bool = False, yields: bool = False) -> T:
        """Run `work` in one durable transaction that cancellation cannot cut in two.

        `quiet` tells no listener: for writes that nobody acts on. With `yields` others go first, where there
        is one writer. Raises `StoreError`; where the database did not answer in time, whether it was
        committed is not known.
        """
        async with self._yielding if yields and self.sqlite else nullcontext():
            outcome = await self._hop(lambda gone: self._write(work, gone), self._writing)
        for listener in () if quiet else self.listeners:
            listener()
        return outcome

    async def read(self, work: Callable[[Tx], T]) -> T:
        """Run `work` on one consistent view; it must not write."""
        return await self._hop(lambda _: self.read_now(work), self._looking)

    async def _hop(self, work: Callable[[Event], T], limiter: CapacityLimiter) -> T:
        """Run `work` in a thread; it is told by the event when nobody waits for it any more."""
        gone = Event()
        with self.explained, anyio.fail_after(WRITE_SECONDS, shield=True):
            try:
                return await to_thread.run_sync(work, gone, limiter=limiter, abandon_on_cancel=True)
            except anyio.get_cancelled_exc_class():
                gone.set()
                raise

    def write_now(self, work: Callable[[Tx], T]) -> T:
        """Run `work` in one durable transaction, in this very thread."""
        return self._write(work, Event())

    def _write(self, work: Callable[[Tx], T], gone: Event) -> T:
        with self.explained, self._standing(), self._transaction(self.writer) as tx:
            outcome = work(tx)
            if gone.is_set():
                raise TimeoutError  # whoever asked was told that nobody knows; better that nothing happened
        return outcome

    def read_now(self, work: Callable[[Tx], T]) -> T:
        """Run `work` on one consistent view, in this very thread; it must not write."""
        with self.explained, self._standing(), self._transaction(self._reader) as tx:
            return work(tx)

    @contextmanager
    def _transaction(self, engine: sa.Engine) -> Iterator[Tx]:
        with ExitStack() as stack:
            try:
                tx = self._begin(engine, stack)
            except sa.exc.DBAPIError as error:
                if not error.connection_invalidated:
                    raise
                # The server had closed a connection that lay in the pool; nothing was asked of it yet.
                tx = self._begin(engine, stack)
            yield tx

    def _begin(self, engine: sa.Engine, stack: ExitStack) -> Tx:
        with ExitStack() as begun:
            connection = begun.enter_context(engine.connect())
            begun.enter_context(connection.begin())
            tx = Tx(connection, self._now(connection))
            stack.push(begun.pop_all())
        return tx

    async def others(self) -> int:
        """Return a number that another process's commit changes, and none of ours; SQLite only."""
        return await self._hop(lambda _: self._others(), self._writing)

    def _others(self) -> int:
        # As the connection sees it that all our writes go through: its own it does not count.
        with self.explained, self.writer.connect() as connection:
            driver: Any = connection.connection.driver_connection
            ((version,),) = driver.execute("PRAGMA data_version").fetchall()
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

    def _now(self, connection: sa.Connection) -> datetime:
        if self._clock is not None:
            return self._clock()
        if self.sqlite:
            return datetime.now(UTC)
        # One round trip: the limits for this transaction alone, and the clock that leases are counted by.
        row = connection.exec_driver_sql(
            "select set_config('statement_timeout', '25s', true), set_config('lock_timeout', '10s', true),"
            " set_config('idle_in_transaction_session_timeout', '30s', true),"
            " set_config('synchronous_commit', 'on', true), clock_timestamp()"
        )
        *_, moment = row.one()
        assert isinstance(moment, datetime)  # noqa: S101 - what PostgreSQL gives for clock_timestamp()
        return moment.astimezone(UTC)

    def revision_now(self) -> str | None:
        """Return the schema's revision, None for an empty database.

        Raises `StoreError` where the tables are another program's.
        """
        with self.explained, self._reader.connect() as connection:
            return revision_of(connection, self.name)

    async def revision(self) -> str | None:
        """Return the schema's revision, as `revision_now`."""
        return await self._hop(lambda _: self.revision_now(), self._looking)

    async def require_schema(self) -> None:
        """Raise `SchemaError` where the schema is not this release's."""
        require(await self.revision())

    async def faults(self) -> list[str]:
        """Return what is wrong with an SQLite file, as SQLite sees it; PostgreSQL looks after its own."""
        return await self.read(_faults) if self.sqlite else []

    def close(self) -> None:
        """Close every connection."""
        self.writer.dispose()
        self._reader.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class ReadHere(Database):
    """A database that is read in the very thread that asks: its coroutines never wait for an event loop."""

    async def _hop(self, work: Callable[[Event], T], limiter: CapacityLimiter) -> T:
        return work(Event())


def _faults(tx: Tx) -> list[str]:
    sound = tx.connection.exec_driver_sql("PRAGMA integrity_check(10)")
    orphans = tx.connection.exec_driver_sql("PRAGMA foreign_key_check")
    found = [str(row[0]) for row in sound if row[0] != "ok"]
    return found + [f"a row of {row.table} has lost its {row.parent}" for row in orphans]
