"""Job files that change while a daemon runs."""

from collections.abc import Callable
from pathlib import Path

import anyio
import pytest
import structlog
from watchfiles import awatch

from orchestrator.config.load import load
from orchestrator.config.manifest import Kinds, Manifest
from orchestrator.daemon.files import JobFiles
from orchestrator.daemon.wakeup import Wakeup
from orchestrator.store.database import Database, Tx
from orchestrator.store.file import prepare_file

HEAD = '[orchestrator]\nproject = "acme"\n'


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = tmp_path / "jobs.toml"
    made.write_text(HEAD)
    return made


@pytest.fixture
def read(file: Path) -> Callable[[], Manifest]:
    return lambda: load([file], Kinds(providers={}, hooks={}), {})


async def test_only_what_changed_is_news(file: Path, read: Callable[[], Manifest]) -> None:
    now, files = read(), JobFiles(reload=read)
    assert await files.news(now) is None
    file.write_text(f"{HEAD}max_new_runs = 3\n")
    found = await files.news(now)
    assert found is not None
    assert found.settings.max_new_runs == 3


async def test_what_still_changes_is_read_until_it_holds_still(
    file: Path, read: Callable[[], Manifest]
) -> None:
    left = [3, 2, 1]

    def reload() -> Manifest:
        if left:
            file.write_text(f"{HEAD}max_new_runs = {left.pop()}\n")
        return read()

    found = await JobFiles(reload=reload).news(read())
    assert found is not None
    assert (found.settings.max_new_runs, left) == (3, [])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (HEAD.replace("acme", "other"), "a change of project needs a restart"),
        (f'{HEAD}database = "sqlite:///other.db"\n', "a change of database needs a restart"),
        (f"{HEAD}hooks = 3\n", "hooks"),
    ],
)
async def test_what_cannot_be_taken_is_said_once_and_leaves_the_last_in_force(
    file: Path, read: Callable[[], Manifest], text: str, said: str
) -> None:
    now, files = read(), JobFiles(reload=read)
    file.write_text(text)
    with structlog.testing.capture_logs() as logs:
        assert await files.news(now) is None
        assert await files.news(now) is None
    (line,) = logs
    assert line["event"] == "files.refused"
    assert said in line["error"]
    assert files.trouble == line["error"]
    file.write_text(HEAD)
    assert await files.news(now) is None
    assert files.trouble is None


async def test_another_address_to_listen_at_is_for_the_next_start_and_said(
    file: Path, read: Callable[[], Manifest]
) -> None:
    now, files = read(), JobFiles(reload=read)
    file.write_text(f'{HEAD}listen = "127.0.0.1:9999"\n')
    with structlog.testing.capture_logs() as logs:
        found = await files.news(now)
        assert found is not None
        files.taken(found, now)
    assert [line["setting"] for line in logs if line["event"] == "files.later"] == ["listen"]


async def test_a_database_beside_the_files_makes_nobody_read_them(tmp_path: Path, file: Path) -> None:
    stop, rung, seen, quiet = anyio.Event(), Wakeup(), Wakeup(), Wakeup()
    rings: list[None] = []

    def changed() -> None:
        rings.append(None)
        rung.wake()

    async def witness() -> None:
        # It gathers for longer than what is tested, so that whatever it tells of was told there before.
        turns = awatch(
            tmp_path, debounce=1600, step=800, stop_event=stop, rust_timeout=1700, yield_on_timeout=True
        )
        async for changes in turns:
            (seen if changes else quiet).wake()

    def commit(tx: Tx) -> None:
        tx.connection.exec_driver_sql("create table if not exists kept (id integer)")
        tx.connection.exec_driver_sql("insert into kept values (1)")

    prepare_file(tmp_path / "state.db")
    watched = JobFiles(reload=lambda: load([file], Kinds(providers={}, hooks={}), {}))
    with Database(f"sqlite:///{tmp_path / 'state.db'}") as database:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(watched.watch, [file], changed, stop)
            tasks.start_soon(witness)
            with anyio.fail_after(60):
                while not rings:
                    file.write_text(f"{file.read_text()}\n")
                    with anyio.move_on_after(1):
                        await rung.wait()
                await quiet.wait()
                seen, rung = Wakeup(), Wakeup()
                rings.clear()
                for _ in range(5):
                    await database.write(commit)
                await seen.wait()
                assert rings == []
                (tmp_path / "more.toml").write_text(HEAD)
                await rung.wait()
            stop.set()
