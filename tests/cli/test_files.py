"""The daemon follows the job files as they are saved, and ends as it is told."""

import os
import signal
from pathlib import Path

import pytest
from drive import Place, cartesia, oxen


def replace_whole(path: Path, text: str) -> None:
    """Save as most editors do: another file, put in place of the first."""
    other = path.with_name(f".{path.name}.swp")
    other.write_text(text)
    os.replace(other, path)


def test_a_saved_file_is_taken_up_and_a_broken_one_is_not(place: Place) -> None:
    path = place.write(cartesia("one"))
    daemon = place.start("up")
    daemon.until("run.advanced", job="one", status="succeeded")
    good = path.read_text()

    replace_whole(path, good + cartesia("two"))
    daemon.until("run.advanced", job="two", status="succeeded")

    path.write_text(good + cartesia("two") + "[jobs.three]\nprovder = 1\n")
    said = daemon.until("files.refused")
    assert "jobs.toml:" in said["error"]
    assert "provder" in said["error"]
    assert "last good" in said["hint"]
    assert place.job("two")["status"] == "succeeded"

    path.unlink()
    path.write_text(good + cartesia("two") + cartesia("three"))
    daemon.until("run.advanced", job="three", status="succeeded")
    assert daemon.stop() == 0
    assert [row["name"] for row in place.ledger().created["cartesia"]] == ["one", "two", "three"]


def test_a_file_that_is_gone_keeps_the_last_good_one(place: Place) -> None:
    path = place.write(cartesia("one", dataset="stuck-me"))
    daemon = place.start("up")
    daemon.until("run.advanced", job="one", status="running")
    path.unlink()
    daemon.until("files.refused")
    place.set("cartesia", place.ledger().created["cartesia"][0]["id"], "completed")
    daemon.until("run.advanced", job="one", status="succeeded")
    assert daemon.stop() == 0


def test_a_new_file_of_a_folder_is_taken_up(place: Place) -> None:
    place.write(cartesia("one"), name="a.toml")
    daemon = place.start("-f", ".", "up")
    daemon.until("run.advanced", job="one", status="succeeded")
    replace_whole(place.folder / "b.toml", cartesia("two"))
    daemon.until("run.advanced", job="two", status="succeeded")
    assert daemon.stop() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_first_signal_lets_what_is_under_way_end(place: Place, number: signal.Signals) -> None:
    place.write(cartesia("one"), cartesia("two"))
    place.fault("delay", operation="create", seconds=1.0)
    daemon = place.start("up")
    daemon.until("run.advanced", job="one", status="submitting")
    daemon.signal(number)
    daemon.until("daemon.draining")
    assert daemon.wait() == 0
    assert place.job("one")["remote_id"] == place.ledger().created["cartesia"][0]["id"]
    assert place.job("two")["status"] == "pending"
    assert place.ledger().counts["cartesia"] == 1
    assert place("status", "--json").json["daemon"]["pid"] == daemon.process.pid


def test_the_second_signal_ends_at_once_and_nothing_is_lost(place: Place) -> None:
    place.write(cartesia("one"))
    place.fault("delay", operation="create", seconds=20.0)
    daemon = place.start("up")
    daemon.until("run.advanced", job="one", status="submitting")
    place.until(lambda: place.ledger().counts.get("cartesia"))
    daemon.signal(signal.SIGTERM)
    daemon.until("daemon.draining")
    daemon.signal(signal.SIGTERM)
    assert daemon.wait() == 143
    place.up()
    assert place.job("one")["status"] == "succeeded"
    assert place.ledger().counts["cartesia"] == 1
    assert len(place.ledger().asked("create")) == 1


def test_a_second_daemon_names_the_first(place: Place) -> None:
    place.write(cartesia("one"))
    first = place.start("up")
    first.until("run.advanced", before="submitting")  # what is killed earlier is in doubt for long
    refused = place("up", code=1)
    assert f"pid {first.process.pid}" in refused.err
    assert "stop it" in refused.err
    first.kill()
    place.up()  # the lock ended with its holder
    assert place.ledger().counts["cartesia"] == 1


def test_apply_leaves_the_sending_to_the_daemon(place: Place) -> None:
    path = place.write(cartesia("one"), settings="max_new_runs = 0")
    daemon = place.start("up")
    daemon.until("job.held", job="one")
    said = place("apply", "-y", "--wait")
    assert "the daemon will submit" in said.err
    assert place.job("one")["status"] == "succeeded"
    assert (again := place("apply", "-y")).out.endswith("\nNo changes.\n")
    assert again.err == ""
    assert "Every job is done." in place("why").err
    path.write_text(path.read_text() + oxen("chat"))
    daemon.until("job.held", job="chat")
    assert place("why").out.startswith("chat has no run yet.\nA change is held: ")
    (why,) = place("why", "--json").json["jobs"]
    assert why["job"] == "chat"
    assert [each["job"] for each in place("why", "one", "chat", "--json").json["jobs"]] == ["one", "chat"]
    assert daemon.stop() == 0
    assert place.ledger().counts["oxen"] == 0


def test_until_settled_ends_with_time_out(place: Place) -> None:
    place.write(cartesia("one", dataset="stuck-me"))
    daemon = place.start("up")
    daemon.until("run.advanced", job="one", status="running")
    assert daemon.stop() == 0
    place("up", "--until-settled", "--timeout", "200ms", code=3)
    assert place.job("one")["status"] == "running"
