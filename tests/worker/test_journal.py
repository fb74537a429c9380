"""The journal of replies: nothing that was answered is forgotten before the database has it."""

import fcntl
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.worker.journal import Entry, Journal

FIRST = Entry(run_id="run_1", remote_id="ft_1", word="created")
SECOND = Entry(run_id="run_2", remote_id="ft_2", word="created")


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "replies.jsonl")


@pytest.fixture
def held(journal: Journal) -> Iterator[None]:
    """Somebody else holds the file and stands still."""
    journal.append(FIRST)
    with journal.path.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def test_what_was_written_is_read_until_all_of_it_is_settled(journal: Journal) -> None:
    journal.append(FIRST)
    journal.append(SECOND)
    journal.forget({"run_1"})
    assert journal.read() == {"run_1": FIRST, "run_2": SECOND}
    journal.forget({"run_1", "run_2"})
    assert journal.read() == {}


def test_a_line_that_was_cut_off_swallows_no_other(journal: Journal) -> None:
    journal.append(FIRST)
    with journal.path.open("ab") as file:
        file.write(b'{"run": "run_3", "rem')
    journal.append(SECOND)
    assert journal.read() == {"run_1": FIRST, "run_2": SECOND}


@pytest.mark.timeout(20)
@pytest.mark.usefixtures("held")
def test_nobody_waits_for_one_that_stands_still(journal: Journal) -> None:
    journal.append(SECOND)
    journal.forget({"run_1", "run_2"})
    assert journal.read() == {"run_1": FIRST, "run_2": SECOND}
