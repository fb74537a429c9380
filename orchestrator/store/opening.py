"""Opening a store: the right database, ours, with the right schema; and everything closed again."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from typing import Final

import anyio
import structlog

from orchestrator.config.address import Address
from orchestrator.config.problems import placed
from orchestrator.errors import ManifestError, StoreAway, StoreRemoved
from orchestrator.store.database import MEMORY, Database, ReadHere
from orchestrator.store.file import prepare_file, refuse_links, require_ours
from orchestrator.store.lock import held
from orchestrator.store.schema import REVISION, require
from orchestrator.store.store import Store
from orchestrator.store.tables import metadata

log: structlog.stdlib.BoundLogger = structlog.get_logger("orchestrator.store")

FIRST_WAIT: Final = 0.5
LONGEST_WAIT: Final = 15.0
"""Seconds between two tries to reach a database that is away."""


@contextmanager
def open_database(
    address: Address, *, make: bool = False, reading: bool = False, here: bool = False
) -> Iterator[Database | None]:
    """Open what `address` names, with no look at what is in it; None for an SQLite file that is not there.

    `make` makes that file; `here` reads in the thread that asks, for commands without an event loop.
    Raises `ManifestError` where only a job file names the host, and that is another machine.
    """
    if address.stranger is not None and address.file is not None:
        raise ManifestError(placed(address.file, ("orchestrator", "database"), _strange(address.stranger)))
    path = address.path
    if path is not None and not path.exists() and held(path):
        raise StoreRemoved(
            f"{path}: the file was removed while a daemon uses it",
            hint="stop the daemon, put the file back or restore a backup, and restart it",
        )
    if path is not None and make:
        prepare_file(path, below=address.root)
    elif path is not None:
        refuse_links(path, below=address.root)
        if not path.exists():
            yield None
            return
        require_ours(path)
    kind = ReadHere if here else Database
    with kind(address.url, reading=reading, bare=address.file is not None) as database:
        yield database


def _strange(host: str) -> str:
    return (
        f"only this file names the host {host}, and a file may be anybody's: --allow-database-host {host} "
        "or ORCHESTRATOR_DATABASE"
    )


@asynccontextmanager
async def open_store(address: Address, project: str, *, patient: bool = False) -> AsyncIterator[Store]:
    """Open the store of `project`; an empty database gets its schema, an older SQLite file is upgraded.

    `patient` waits for a database that is away. Raises `SchemaError` where the schema is not this release's.
    """
    with open_database(address, make=True) as database:
        assert database is not None  # noqa: S101 - it was made
        await (outlast(lambda: _ready(database)) if patient else _ready(database))
        yield Store(database, project)


async def _ready(database: Database) -> None:
    found = await database.revision()
    if found is None or (database.sqlite and found < REVISION):
        from orchestrator.store.migrate import upgrade  # loads alembic

        await upgrade(database)
    await database.require_schema()


@contextmanager
def read_store(address: Address | None, project: str, *, here: bool = True) -> Iterator[Store]:
    """Open the store of `project` to read it, `here` in the thread that asks; nothing is made.

    Without an address, and where there is no database or nothing in it, the store is empty.
    """
    with ExitStack() as stack:
        database = None
        if address is not None:
            database = stack.enter_context(open_database(address, reading=True, here=here))
        if database is not None and database.revision_now() is not None:
            require(database.revision_now())
        else:
            database = stack.enter_context((ReadHere if here else Database)(MEMORY))
            database.write_now(lambda tx: metadata.create_all(tx.connection))
        yield Store(database, project)


def recorded(address: Address) -> bool:
    """Say whether there is a database with something in it."""
    with open_database(address, reading=True) as database:
        return database is not None and database.revision_now() is not None


async def outlast(work: Callable[[], Awaitable[None]], *, stop: anyio.Event | None = None) -> None:
    """Do `work`, again and again while the database is away, until `stop`; says once that it is away."""
    stop, wait = stop or anyio.Event(), 0.0
    while not stop.is_set():
        try:
            await work()
        except StoreAway as error:
            if not wait:
                log.warning("store.away", error=error.message, hint=error.hint, doing="waiting for it")
        else:
            if wait:
                log.info("store.back")
            return
        wait = min(wait * 2 or FIRST_WAIT, LONGEST_WAIT)
        with anyio.move_on_after(wait):
            await stop.wait()


async def daemon_runs(store: Store) -> bool:
    """Say whether a daemon is there to do what is only recorded."""
    if store.database.path is not None:
        return held(store.database.path)
    beat = await store.daemons.latest()
    return beat is not None and beat.fresh
