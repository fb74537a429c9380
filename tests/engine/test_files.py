"""Job files that change while a daemon runs."""

from collections.abc import Callable
from pathlib import Path

import pytest
import structlog

from orchestrator.config.load import load
from orchestrator.config.manifest import Kinds, Manifest
from orchestrator.engine.files import JobFiles

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
        (HEAD.replace("acme", "other"), "another project takes a restart"),
        (f'{HEAD}database = "sqlite:///other.db"\n', "another database takes a restart"),
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
        assert await files.news(now) is not None
    assert [line["setting"] for line in logs if line["event"] == "files.later"] == ["listen"]
