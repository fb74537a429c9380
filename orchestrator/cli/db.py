"""`orchestrator db`."""

import sqlite3
from pathlib import Path

import anyio
import click

from orchestrator import crashpoint
from orchestrator.cli import _exit
from orchestrator.cli._app import App, app, run
from orchestrator.errors import SchemaError, UsageError
from orchestrator.store.file import prepare_file
from orchestrator.store.opening import open_database
from orchestrator.store.schema import REVISION


@click.group("db")
def command() -> None:
    """Upgrade, check or back up the database."""


@command.command("upgrade")
@app
def upgrade(app: App) -> int:
    """Bring the schema to this release's; an SQLite file is copied first."""

    from orchestrator.store.migrate import upgrade as bring_up  # loads alembic

    async def work() -> int:
        with open_database(app.settings().address, make=True) as database:
            assert database is not None  # noqa: S101 - it was made
            before = await bring_up(database)
        app.say(f"schema {REVISION}" + ("" if before == REVISION else f", was {before or 'empty'}"))
        return _exit.DONE

    return run(work)


@command.command("current")
@app
def current(app: App) -> int:
    """Print the schema's revision."""

    async def work() -> int:
        with open_database(app.settings().address, reading=True) as database:
            found = None if database is None else await database.revision()
        if app.output == "json":
            app.document({"revision": found, "known": REVISION})
        else:
            app.out(found or "empty")
        return _exit.DONE

    return run(work)


@command.command("check")
@app
def check(app: App) -> int:
    """Say whether the schema is this release's and the file is sound; exits with 1 if not."""

    async def work() -> int:
        with open_database(app.settings().address, reading=True) as database:
            if database is None:
                raise SchemaError("there is no database yet", hint="orchestrator apply makes it")
            await database.require_schema()
            for fault in await database.faults():
                raise SchemaError(fault, hint="restore a backup")
        app.say("ok")
        return _exit.DONE

    return run(work)


@command.command("backup")
@click.argument("file", type=click.Path(path_type=Path))
@app
def backup(app: App, *, file: Path) -> int:
    """Copy an SQLite database to FILE while it is in use; for PostgreSQL there is pg_dump."""

    async def work() -> int:
        address = app.settings().address
        with open_database(address, reading=True) as database:
            source = address.path
            if database is None:
                raise UsageError(f"there is no database at {source}")
            if source is None:
                raise UsageError("PostgreSQL has its own tools", hint="pg_dump")
            target = app.cwd / file
            if target.exists():
                raise UsageError(f"{target} already exists", hint="name another file")
            prepare_file(target)
            await anyio.to_thread.run_sync(_copy, source, target)
        app.say(f"saved to {target}")
        return _exit.DONE

    return run(work)


def _copy(source: Path, target: Path) -> None:
    crashpoint.reach("backing-up")
    with sqlite3.connect(f"file:{source}?mode=ro", uri=True) as read, sqlite3.connect(target) as write:
        read.backup(write)
    read.close()
    write.close()
