import os
import sqlite3
import stat
import subprocess
import sys
import threading
import traceback
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta, timezone
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
import sqlalchemy as sa
from anyio import from_thread
from anyio.lowlevel import checkpoint
from core.make import NOW, a_run
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import SchemaError, StoreError, StoreRemoved
from orchestrator.store.commit import CHANNEL, notify
from orchestrator.store.database import Database, Tx
from orchestrator.store.engines import CACHE_KIB, SAFE_WAL
from orchestrator.store.file import prepare_file
from orchestrator.store.hints import listen
from orchestrator.store.rows import run_values
from orchestrator.store.schema import REVISION
from orchestrator.store.store import Store
from orchestrator.store.tables import UTCDateTime, accounts, runs

from .make import put, rows

only_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
only_postgres = pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
OFFSETS = st.builds(timezone, st.timedeltas(-timedelta(hours=23), timedelta(hours=23)))
LIMITS = ("synchronous_commit", "statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")
CANARY = "-".join(("a", "value", "that", "was", "bound"))
COUNTER = {"project": "acme", "name": "counter", "kind": "k", "failures": 0, "epoch": 0}


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """With its own clock, unlike in the other tests of the store."""
    with Database(database_url) as opened:
        yield opened


def add_counter(tx: Tx) -> None:
    tx.execute(sa.insert(accounts), [COUNTER])


def count_up(tx: Tx) -> int:
    row = (tx.execute(sa.select(accounts.c.failures).with_for_update())).one()
    from_thread.run(checkpoint)
    tx.execute(sa.update(accounts).values(failures=row.failures + 1))
    return int(row.failures) + 1


async def test_no_update_is_lost(database: Database, database_url: str) -> None:
    await database.write(add_counter)

    async def worker(each: Database) -> None:
        for _ in range(25):
            await each.write(count_up)

    with Database(database_url) as other:
        async with anyio.create_task_group() as tasks:
            for number in range(8):
                tasks.start_soon(worker, (database, other)[number % 2])
    (row,) = await rows(database, accounts)
    assert row["failures"] == 200


async def test_the_outcome_of_a_cancelled_write_is_known(database: Database) -> None:
    await database.write(add_counter)
    known = 0
    for steps in range(40):
        async with anyio.create_task_group() as tasks:

            async def write() -> None:
                nonlocal known
                known = await database.write(count_up)

            tasks.start_soon(write)
            for _ in range(steps):
                await checkpoint()
            tasks.cancel_scope.cancel()
        (row,) = await rows(database, accounts)
        assert row["failures"] == known
    assert known > 0


async def test_a_write_that_fails_leaves_nothing_not_even_a_table(database: Database) -> None:
    def work(tx: Tx) -> None:
        tx.connection.exec_driver_sql("create table half (x integer)")
        add_counter(tx)
        raise LookupError

    with pytest.raises(LookupError):
        await database.write(work)
    assert await rows(database, accounts) == []
    with pytest.raises(StoreError, match="half"):
        await database.read(lambda tx: tx.execute(sa.text("select * from half")))


async def test_a_read_cannot_write(database: Database) -> None:
    with pytest.raises(StoreError, match=r"read-?\s?only"):
        await database.read(add_counter)
    assert await rows(database, accounts) == []


@only_postgres
async def test_a_read_sees_one_state(database: Database) -> None:
    await database.write(add_counter)

    def work(tx: Tx) -> list[int]:
        before = (tx.execute(sa.select(accounts.c.failures))).scalar_one()
        from_thread.run(database.write, count_up)
        return [before, (tx.execute(sa.select(accounts.c.failures))).scalar_one()]

    assert await database.read(work) == [0, 0]


async def test_listeners_hear_of_commits_alone(database: Database) -> None:
    heard: list[str] = []
    database.listeners.append(lambda: heard.append("commit"))
    await database.write(add_counter)
    await database.write(count_up, quiet=True)
    with pytest.raises(StoreError):
        await database.write(add_counter)
    assert heard == ["commit"]


@given(st.datetimes(timezones=OFFSETS))
def test_a_time_comes_back_as_the_same_moment_in_utc(moment: datetime) -> None:
    kind, dialect = UTCDateTime(), sa.create_engine("sqlite://").dialect
    number = kind.process_bind_param(moment, dialect)
    found = kind.process_result_value(number, dialect)
    assert found == moment
    assert found is not None
    assert found.tzinfo is UTC


@only_sqlite
async def test_whoever_need_not_yield_waits_for_one_of_those_who_do_at_most(database: Database) -> None:
    begun, go, order = anyio.Event(), threading.Event(), list[str]()

    def first(_: Tx) -> None:
        from_thread.run_sync(begun.set)
        go.wait(20)

    async def write(name: str, *, yields: bool) -> None:
        await database.write(lambda _: order.append(name), yields=yields)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(database.write, first)
        await begun.wait()
        for name in ("settle", "settle too", "settle as well"):
            tasks.start_soon(partial(write, name, yields=True))
        await anyio.wait_all_tasks_blocked()
        tasks.start_soon(partial(write, "send", yields=False))
        await anyio.wait_all_tasks_blocked()
        go.set()
    assert order == ["settle", "send", "settle too", "settle as well"]


async def test_times_sort_by_moment_whatever_their_offset(database: Database) -> None:
    east = NOW.astimezone(timezone(timedelta(hours=9)))
    moments = [east, NOW + timedelta(microseconds=1), NOW - timedelta(microseconds=1)]

    def work(tx: Tx) -> list[datetime]:
        added = [COUNTER | {"name": str(number), "confirmed_at": m} for number, m in enumerate(moments)]
        tx.execute(sa.insert(accounts), added)
        found = tx.execute(sa.select(accounts.c.confirmed_at).order_by(accounts.c.confirmed_at))
        return [row.confirmed_at for row in found]

    found = await database.write(work)
    assert found == sorted(moments)
    assert {moment.tzinfo for moment in found} == {UTC}
    assert UTCDateTime().process_result_value(None, sa.create_engine("sqlite://").dialect) is None


async def test_a_naive_time_is_refused(database: Database) -> None:
    naive = COUNTER | {"confirmed_at": NOW.replace(tzinfo=None)}
    with pytest.raises(StoreError) as caught:
        await database.write(lambda tx: tx.execute(sa.insert(accounts), [naive]))
    assert "a time without an offset" in str(caught.value.__cause__)


async def test_no_error_shows_what_was_bound(database: Database) -> None:
    def work(tx: Tx) -> None:
        tx.execute(sa.text("select :bound from nowhere"), {"bound": CANARY})

    with pytest.raises(StoreError) as caught:
        await database.write(work)
    assert "nowhere" in caught.value.message
    assert CANARY not in "".join(traceback.format_exception(caught.value))


async def test_a_row_that_is_there_already_is_told_without_its_values(database: Database) -> None:
    canary = run_values(a_run(marker=CANARY))
    await database.write(lambda tx: tx.execute(sa.insert(runs), [canary]))
    with pytest.raises(StoreError, match="is there already") as caught:
        await database.write(lambda tx: tx.execute(sa.insert(runs), [canary | {"id": "other"}]))
    assert CANARY not in str(caught.value)


def test_a_password_is_never_shown() -> None:
    url = f"postgresql://user:{CANARY}@127.0.0.1:1/x?password={CANARY}&connect_timeout=2"

    async def connect() -> None:
        with Database(url) as database:
            await database.revision()

    with pytest.raises(StoreError, match="refused") as caught:
        anyio.run(connect)
    assert CANARY not in "".join(traceback.format_exception(caught.value))
    assert caught.value.hint == "is the server running, and the address right?"


@only_sqlite
async def test_sqlite_forgets_nothing_when_the_power_fails(database: Database) -> None:
    def pragmas(tx: Tx) -> dict[str, Any]:
        names = ("journal_mode", "synchronous", "foreign_keys")
        return {name: (tx.execute(sa.text(f"PRAGMA {name}"))).scalar() for name in names}

    journal = ("wal", 2) if sqlite3.sqlite_version_info >= SAFE_WAL else ("truncate", 3)
    for way in (database.write, database.read):
        found = await way(pragmas)
        assert (found["journal_mode"], found["synchronous"], found["foreign_keys"]) == (*journal, 1)


@only_postgres
async def test_postgres_forgets_nothing_and_waits_for_nothing_long(
    database: Database, database_url: str
) -> None:
    alter = f'alter database "{sa.make_url(database_url).database}"'
    await database.write(lambda tx: tx.execute(sa.text(f"{alter} set synchronous_commit = off")))

    def limits(tx: Tx) -> list[str]:
        return [str((tx.execute(sa.text(f"show {name}"))).scalar()) for name in LIMITS]

    try:
        with Database(database_url) as fresh:
            assert await fresh.write(limits) == ["on", "25s", "10s", "30s"]
    finally:
        await database.write(lambda tx: tx.execute(sa.text(f"{alter} reset all")))


@only_postgres
async def test_the_clock_goes_on_inside_a_transaction_on_the_server_alone(database: Database) -> None:
    first = await database.read(_now)
    second = await database.read(_now)
    assert first < second
    assert first.tzinfo is UTC


def _now(tx: Tx) -> datetime:
    return tx.now


def test_the_files_are_for_their_owner_alone(tmp_path: Path) -> None:
    before = os.umask(0o022)
    path = tmp_path / ".orchestrator" / "state.db"

    async def work() -> None:
        prepare_file(path)
        with Database(f"sqlite:///{path}") as database:

            def write(tx: Tx) -> None:
                tx.connection.exec_driver_sql("create table t (x integer)")
                assert modes(path.parent) == {0o600}

            await database.write(write)

    try:
        anyio.run(work)
    finally:
        os.umask(before)
    assert modes(path.parent) == {0o600}
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert (path.parent / ".gitignore").read_text() == "*\n"


def modes(folder: Path) -> set[int]:
    return {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir() if path.name != ".gitignore"}


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o622])
def test_a_file_that_others_may_touch_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "state.db"
    prepare_file(path)
    path.chmod(mode)
    with pytest.raises(StoreError, match="can be read by others") as caught:
        prepare_file(path)
    assert caught.value.hint == f"chmod 600 {path}"


def test_a_place_where_no_file_can_be_made_is_explained(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for path, said in (
        (tmp_path / "file" / "state.db", "cannot make"),
        (tmp_path / "link", "is a symbolic link"),
    ):
        with pytest.raises(StoreError, match=said):
            prepare_file(path)
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_the_file_of_another_user_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    prepare_file(path)
    os.chown(path, 65534, 65534)
    with pytest.raises(StoreError, match="belongs to another user"):
        prepare_file(path)


@pytest.mark.parametrize("moment", ["before", "within"])
@pytest.mark.parametrize("end", ["removed", "replaced"])
def test_nothing_is_written_to_a_file_that_nobody_can_find(tmp_path: Path, moment: str, end: str) -> None:
    path = tmp_path / "state.db"
    prepare_file(path)

    def away() -> None:
        path.rename(tmp_path / "away.db")
        if end == "replaced":
            prepare_file(path)

    def late(tx: Tx) -> None:
        tx.connection.exec_driver_sql("create table t (x integer)")
        if moment == "within":
            away()

    async def work() -> None:
        with Database(f"sqlite:///{path}") as database:
            await database.read(_now)
            if moment == "before":
                away()
            with pytest.raises(StoreRemoved, match=f"the file was {end} while it was in use"):
                await database.write(late)
            with pytest.raises(StoreRemoved):
                await database.read(_now)
            assert path.exists() == (end == "replaced")
            (tmp_path / "away.db").rename(path)
            await database.read(_now)

    anyio.run(work)


def test_something_else_in_the_place_of_the_file_is_explained(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    path.write_text("not a database, " * 100)
    path.chmod(0o600)

    async def work() -> None:
        with Database(f"sqlite:///{path}") as database:
            await database.require_schema()

    with pytest.raises(StoreError, match="not a database") as caught:
        anyio.run(work)
    assert caught.value.hint is not None


@pytest.mark.parametrize(
    ("found", "hint"),
    [("0000", "orchestrator db upgrade"), ("9999", "use the release that wrote it, or a newer one")],
)
async def test_a_schema_of_another_release_is_refused(database: Database, found: str, hint: str) -> None:
    await database.require_schema()
    await database.write(lambda tx: _stamp(tx, found))
    with pytest.raises(SchemaError, match=found) as caught:
        await database.require_schema()
    assert caught.value.hint == hint
    await database.write(lambda tx: _stamp(tx, REVISION))
    assert await database.revision() == REVISION


def _stamp(tx: Tx, revision: str) -> None:
    tx.execute(sa.text("update alembic_version set version_num = :found"), {"found": revision})


async def test_many_readers_and_a_writer_get_along(database: Database, database_url: str) -> None:
    await database.write(add_counter)

    async def read(each: Database) -> None:
        for _ in range(20):
            await rows(each, accounts)

    with Database(database_url) as other:
        async with anyio.create_task_group() as tasks:
            for each in (database, other) * 5:
                tasks.start_soon(read, each)
            for _ in range(20):
                await database.write(count_up)
    (row,) = await rows(database, accounts)
    assert row["failures"] == 20


@only_postgres
async def test_a_notification_arrives_and_a_cut_connection_is_told(database: Database) -> None:
    heard = anyio.Event()
    cut = anyio.Event()

    async def follow() -> None:
        async for _ in listen(database, CHANNEL):
            heard.set()

    async def until_cut() -> None:
        with pytest.raises(OSError, match="notifications ended"):
            await follow()
        cut.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(until_cut)
        while not heard.is_set():
            await database.write(lambda tx: notify(tx, "acme"))
        kill = "select pg_terminate_backend(pid) from pg_stat_activity where query like 'LISTEN%'"
        await database.read(lambda tx: tx.execute(sa.text(kill)))
        await cut.wait()
    assert await database.revision() == REVISION


@only_sqlite
def test_a_process_that_forgets_to_close_still_ends(database_url: str) -> None:
    program = (
        "import anyio, sys\n"
        "from orchestrator.store.store import Store\n"
        "from orchestrator.store.database import Database\n"
        "anyio.run(Store(Database(sys.argv[1]), 'acme').now)\n"
    )
    subprocess.run([sys.executable, "-c", program, database_url], check=True, timeout=30)


async def test_the_projects_of_one_database_do_not_see_each_other(database: Database) -> None:
    one, other = Store(database, "acme", owner="me"), Store(database, "other", owner="me")
    await put(one, a_run())
    assert [run.id for run in await one.work.open_runs()] == [a_run().id]
    assert await other.work.open_runs() == []
    assert await other.declared.state([]) == ({}, [])


async def test_a_connection_of_sqlite_keeps_few_pages(tmp_path: Path) -> None:
    def pages(tx: Tx) -> int:
        return int((tx.connection.exec_driver_sql("PRAGMA cache_size")).scalar_one())

    prepare_file(tmp_path / "state.db")
    with Database(f"sqlite:///{tmp_path}/state.db") as database:
        assert [await database.read(pages), await database.write(pages)] == [-CACHE_KIB, -CACHE_KIB]
