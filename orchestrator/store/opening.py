"""Opening a store: the file made, the schema right, everything closed again."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from orchestrator import late
from orchestrator.store.database import REVISION, Database, prepare_file
from orchestrator.store.lock import held
from orchestrator.store.store import Store


@asynccontextmanager
async def open_store(url: str, project: str, *, upgrade: bool = True) -> AsyncIterator[Store]:
    """Open the store of `project`; an SQLite file is made and, unless told not to, upgraded by itself.

    Raises `SchemaError` where the schema is not this release's.
    """
    database = Database(url)
    if database.path is not None:
        prepare_file(database.path)
    async with database:
        if upgrade and database.sqlite and (await database.revision() or "") < REVISION:
            await late("store.migrate").upgrade(database)
        if upgrade:
            await database.require_schema()
        yield Store(database, project)


async def daemon_runs(store: Store) -> bool:
    """Say whether a daemon is there to do what is only recorded."""
    if store.database.path is not None:
        return held(store.database.path)
    beat = await store.daemons.latest()
    return beat is not None and beat.fresh
