"""The journal of replies: nothing that was answered is forgotten before the database has it."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from crowded import crowded

from orchestrator.worker.journal import Entry, Journal

FIRST = Entry(run_id="run_1", remote_id="ft_1", word="created")
SECOND = Entry(run_id="run_2", remote_id="ft_2", word="created")


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "replies.jsonl")


@contextmanager
def held(journal: Journal) -> Iterator[None]:
    """Let another process be about to cut the file, and stand still there."""
    with journal.path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


async def append(journal: Journal, *entries: Entry) -> None:
    for entry in entries:
        async with journal.opened() as page:
            await page.append(entry)


async def test_what_was_written_is_read_until_all_of_it_is_settled(journal: Journal) -> None:
    await append(journal, FIRST, SECOND)
    await journal.forget({"run_1"})
    assert await journal.read() == {"run_1": FIRST, "run_2": SECOND}
    await journal.forget({"run_1", "run_2"})
    assert await journal.read() == {}


async def test_a_line_that_was_cut_off_swallows_no_other(journal: Journal) -> None:
    await append(journal, FIRST)
    with journal.path.open("ab") as file:
        file.write(b'{"run": "run_3", "rem')
    await append(journal, SECOND)
    assert await journal.read() == {"run_1": FIRST, "run_2": SECOND}


@pytest.mark.timeout(20)
async def test_one_that_stands_still_is_waited_for_by_nobody_and_drops_nothing(journal: Journal) -> None:
    await append(journal, FIRST)
    with held(journal):
        with pytest.raises(OSError, match="another process holds the journal"):
            await append(journal, SECOND)
        await journal.forget({"run_1"})
    assert await journal.read() == {"run_1": FIRST}


@pytest.mark.timeout(20)
async def test_nothing_is_cut_while_something_is_being_bought(journal: Journal) -> None:
    await append(journal, FIRST)
    async with journal.opened() as page, journal.opened() as other:
        await Journal(journal.path).forget({"run_1", "run_2"})
        await page.append(SECOND)
        await other.append(FIRST)
    assert await journal.read() == {"run_1": FIRST, "run_2": SECOND}


@pytest.mark.timeout(20)
async def test_whatever_hangs_in_other_threads_a_reply_is_written(journal: Journal) -> None:
    with crowded():
        await append(journal, FIRST)
        assert await journal.read() == {"run_1": FIRST}
