"""Migrations, on empty and on populated databases."""

import shutil
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import anyio
import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from core.make import NOW, a_record, a_run

from orchestrator.core.run import Status
from orchestrator.core.transition import finish
from orchestrator.errors import SchemaError, StoreError
from orchestrator.store import migrate
from orchestrator.store.database import Database, Tx
from orchestrator.store.migrate import config, copy, scripts, upgrade
from orchestrator.store.schema import REVISION
from orchestrator.store.store import Store
from orchestrator.store.tables import deliveries, events, jobs, metadata, runs

from .make import ROUTING, heard, put, rows

PROGRAM = """
import sys, anyio
from orchestrator.store.database import Database
from orchestrator.store.migrate import upgrade
async def work():
    with Database(sys.argv[1]) as database:
        await upgrade(database)
anyio.run(work)
"""

only_sqlite = pytest.mark.parametrize("blank_url", ["sqlite"], indirect=True)


def test_the_release_speaks_the_newest_schema() -> None:
    assert ScriptDirectory.from_config(config()).get_heads() == [REVISION]


async def test_an_empty_database_becomes_what_the_tables_say(blank_url: str) -> None:
    def differences(connection: sa.Connection) -> list[object]:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return list(compare_metadata(context, metadata))

    with Database(blank_url) as database:
        assert await database.revision() is None
        with pytest.raises(SchemaError, match="is empty"):
            await database.require_schema()
        assert await upgrade(database) is None
        assert await database.revision() == REVISION
        assert await database.read(lambda tx: differences(tx.connection)) == []


async def test_tasks_and_connections_may_upgrade_at_once(blank_url: str) -> None:
    async def work() -> None:
        with Database(blank_url) as database:
            await upgrade(database)

    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(work)
    with Database(blank_url) as database:
        await database.require_schema()


def test_processes_may_upgrade_at_once(blank_url: str) -> None:
    processes = [subprocess.Popen([sys.executable, "-c", PROGRAM, blank_url]) for _ in range(3)]
    assert [process.wait() for process in processes] == [0, 0, 0]


async def populate(database: Database) -> Store:
    store = Store(database, "acme", owner="me")
    job = heard()
    run = a_run(job, status=Status.RUNNING)
    await put(store, run, records=[a_record(job)])
    await store.work.commit([finish(run, NOW, status=Status.SUCCEEDED, result={"model": "m"})], ROUTING)
    return store


async def everything(database: Database) -> list[object]:
    return [await rows(database, table) for table in (jobs, runs, events, deliveries)]


async def test_a_database_of_the_first_release_keeps_what_it_knows(blank_url: str) -> None:
    names = ("name", "owner", "lease_until", "failures")
    known = [("blocked", None, 7, 1), ("polled", "me", 8, 0), ("resting", None, None, 2)]

    def first(tx: Tx) -> None:
        command.upgrade(config(tx.connection), "0001")
        insert = "insert into accounts (project, kind, epoch, name, owner, lease_until, failures)"
        values = "values ('acme', 'cartesia', 3, :name, :owner, :lease_until, :failures)"
        tx.execute(sa.text(f"{insert} {values}"), [dict(zip(names, each, strict=True)) for each in known])

        # A delivery that waits, of an event that is not of a run.
        event = "insert into events (id, project, account, type, timestamp, sequence)"
        tx.execute(sa.text(f"{event} values (1, 'acme', 'blocked', 'provider.paused', 1, 1)"))
        delivery = "insert into deliveries (id, project, event_id, hook, event, lane, body, state, attempts"
        values = "'msg_1', 'acme', 1, 'team', 'provider.paused', 'account:blocked', '{}', 'pending', 3"
        tx.execute(sa.text(f"{delivery}, epoch, lasting) values ({values}, 0, false)"))

    with Database(blank_url) as database:
        await database.write(first)
        assert await upgrade(database) == "0001"
        assert await raw(database, "select id, attempts, deferrals from deliveries") == [("msg_1", 3, 0)]
        ask = "select name, owner, lease_until, failures, blocked_until, epoch from accounts order by name"
        assert await raw(database, ask) == [
            ("blocked", None, None, 1, 7, 3),
            ("polled", "me", 8, 0, None, 3),
            ("resting", None, None, 2, None, 3),
        ]


async def test_a_database_in_use_survives_another_upgrade(blank_url: str) -> None:
    with Database(blank_url) as database:
        await upgrade(database)
        await populate(database)
        before = await everything(database)
        assert await upgrade(database) == REVISION
        assert await everything(database) == before


async def test_the_schema_of_a_newer_release_is_left_alone(blank_url: str) -> None:
    with Database(blank_url) as database:
        await upgrade(database)
        newer = sa.text("update alembic_version set version_num = '9999'")
        await database.write(lambda tx: tx.execute(newer))
        with pytest.raises(SchemaError, match="newer schema 9999"):
            await upgrade(database)
        assert await database.revision() == "9999"


@pytest.fixture
def next_release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A release whose newest revision rebuilds `runs`, with a column more; returns that revision's file."""
    folder = tmp_path / "migrations"
    shutil.copytree(scripts(), folder, ignore=shutil.ignore_patterns("__pycache__"))
    revision = folder / "versions" / "next.py"
    revision.write_text(
        f'''"""Next."""
import sqlalchemy as sa
from alembic import op
revision, down_revision, branch_labels, depends_on = "0005", "{REVISION}", None, None
def upgrade():
    with op.batch_alter_table("runs") as batch:
        batch.add_column(sa.Column("colour", sa.Text(), nullable=False, server_default="blue"))
        batch.alter_column("message", new_column_name="words")
'''
    )
    monkeypatch.setattr(migrate, "PACKAGED", folder)
    monkeypatch.setattr(migrate, "REVISION", "0005")
    monkeypatch.setattr("orchestrator.store.schema.REVISION", "0005")
    return revision


async def raw(database: Database, statement: str) -> list[tuple[object, ...]]:
    def work(tx: Tx) -> list[tuple[object, ...]]:
        return [tuple(row) for row in tx.execute(sa.text(statement))]

    return await database.read(work)


async def test_a_database_in_use_goes_on_to_the_next_release(
    database_url: str, next_release: Path, tmp_path: Path
) -> None:
    with Database(database_url) as database:
        await populate(database)
        told = await rows(database, events), await rows(database, deliveries)
        try:
            assert await upgrade(database) == REVISION
            assert await raw(database, "select id, colour, words from runs") == [
                ("run_narrator_cartesia_1", "blue", None)
            ]
            assert (await rows(database, events), await rows(database, deliveries)) == told
            await database.require_schema()
        finally:
            if not database.sqlite:
                await _back(database)
    if database_url.startswith("sqlite"):
        kept = tmp_path / "state.db.before-0005"
        assert stat.S_IMODE(kept.stat().st_mode) == 0o600
        with closing(sqlite3.connect(kept)) as copied:
            assert copied.execute("select version_num from alembic_version").fetchall() == [(REVISION,)]
            assert copied.execute("select count(*) from deliveries").fetchall() == [(1,)]


async def test_many_may_go_on_to_the_next_release_at_once(database_url: str, next_release: Path) -> None:
    async def work() -> None:
        with Database(database_url) as each:
            await upgrade(each)

    with Database(database_url) as database:
        await populate(database)
        try:
            async with anyio.create_task_group() as tasks:
                for _ in range(5):
                    tasks.start_soon(work)
            await database.require_schema()
            assert len(await rows(database, deliveries)) == 1
        finally:
            if not database.sqlite:
                await _back(database)


async def _back(database: Database) -> None:
    def work(tx: Tx) -> None:
        for statement in (
            "alter table runs drop column colour",
            "alter table runs rename column words to message",
        ):
            tx.execute(sa.text(statement))
        before = sa.text("update alembic_version set version_num = :before")
        tx.execute(before, {"before": REVISION})

    await database.write(work)


async def test_an_upgrade_that_fails_halfway_changes_nothing(database_url: str, next_release: Path) -> None:
    with next_release.open("a") as file:
        file.write('    op.execute("select 1 from nowhere")\n')
    with Database(database_url) as database:
        await populate(database)
        before = await everything(database)
        with pytest.raises(StoreError, match="nowhere"):
            await upgrade(database)
        assert await database.revision() == REVISION
        assert await everything(database) == before


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_an_upgrade_that_would_orphan_rows_changes_nothing(
    database_url: str, next_release: Path
) -> None:
    with next_release.open("a") as file:
        file.write('    op.execute("delete from runs")\n')
    with Database(database_url) as database:
        await populate(database)
        before = await everything(database)
        with pytest.raises(StoreError, match="rows without their parents"):
            await upgrade(database)
        assert await everything(database) == before


def test_a_copy_takes_no_other_files_place(tmp_path: Path) -> None:
    source, target = tmp_path / "a.db", tmp_path / "b.db"
    source.touch()
    target.write_text("precious")
    with pytest.raises(StoreError, match="cannot copy"):
        copy(source, target)
    assert target.read_text() == "precious"


@only_sqlite
async def test_the_copy_is_of_one_moment_while_others_write(blank_url: str, tmp_path: Path) -> None:
    path = Path(blank_url.removeprefix("sqlite:///"))
    with Database(blank_url) as database:
        await upgrade(database)

        def work(tx: Tx) -> None:
            tx.execute(sa.text("update alembic_version set version_num = 'half'"))
            copy(path, tmp_path / "copy.db")

        await database.write(work)
    with closing(sqlite3.connect(tmp_path / "copy.db")) as copied:
        assert copied.execute("select version_num from alembic_version").fetchall() == [(REVISION,)]
