"""Bad input: a clear error that says what to do, the right code, nothing sent, nothing lost, no traceback."""

import json
import os
import shutil
import socket
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from drive import Place, cartesia, cloudflare, oxen

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="takes the rights of root")
LITERAL = 'api_key = "sk-live-0123456789abcdef"\n'


@pytest.mark.parametrize(
    ("text", "place_of", "said"),
    [
        ("[jobs.voice\n", "jobs.toml:1:", "TOML"),
        ('[jobs.voice]\nprovider = "cartesia"\nhoks = []\n', "jobs.toml:3:1:", "hooks"),
        ('[jobs.voice]\nprovider = "cartesa"\n[jobs.voice.spec]\n', "jobs.toml:2:12:", "cartesia"),
        (f"[providers.cartesia]\n{LITERAL}", "jobs.toml:2:11:", "env"),
        ('[orchestrator]\npoll_interval = "10ms"\n', "jobs.toml:2:17:", "1s"),
        ('[jobs.voice]\nprovider = "cartesia"\n[jobs.voice.spec]\nlanguage = 7\n', "jobs.toml:4:12:", "text"),
        ('[jobs.voice]\nprovider = "cartesia"\nhooks = ["nobody"]\n', "jobs.toml:3:", "nobody"),
        ('[jobs."no good"]\nprovider = "cartesia"\n', "jobs.toml:1:7:", "no good"),
        ("\ufeff[jobs]\n\x00", "jobs.toml:", "TOML"),
    ],
)
def test_a_malformed_file_says_where(place: Place, text: str, place_of: str, said: str) -> None:
    (place.folder / "jobs.toml").write_text(text)
    for found in place.together(("validate",), ("plan",), ("apply", "-y"), ("up",), code=2):
        assert place_of in found.err, found
        assert said in found.err
        assert "problem" in found.err
        assert "sk-live" not in found.err
        assert found.out == ""
    assert not (place.folder / ".orchestrator").exists()
    assert place.ledger().requests == []


def test_all_problems_are_told_at_once(place: Place) -> None:
    path = place.write(cartesia("one", language="xx", modell_id="typo"), cartesia("two", account="nobody"))
    path.write_text(path.read_text() + '[hooks.team]\nkind = "pigeon"\n')
    found = place("plan", code=2).err
    assert all(word in found for word in ("modell_id", "model_id", "nobody", "pigeon"))
    assert found.count("jobs.toml:") >= 3


def test_what_comes_later_is_refused_by_name(place: Place) -> None:
    place.write(cartesia("one", "retries = 2"))
    said = place("plan", code=2).err
    assert "retries" in said
    assert "not supported yet" in said


def test_a_folder_or_no_text_in_place_of_a_file(place: Place) -> None:
    (place.folder / "jobs.toml").write_bytes(b"\xff\xfe\x00j\x00")
    assert "UTF-8" in place("plan", code=2).err
    (place.folder / "jobs.toml").unlink()
    assert "orchestrator init" in place("plan", code=2).err
    (place.folder / "empty").mkdir()
    assert "no .toml" in place("plan", "-f", "empty", code=2).err


def test_a_status_is_shown_whatever_the_files_hold(place: Place) -> None:
    path = place.write(cartesia("voice"))
    place("apply", "-y", "--wait")
    path.write_text(path.read_text() + "[jobs.broken]\nnonsense = 1\n")
    assert place.job("voice")["status"] == "succeeded"
    place("plan", code=2)


def test_a_missing_credential_stops_its_account_alone(place: Place) -> None:
    place.write(cartesia("voice"), oxen("chat"))
    del place.env["CARTESIA_API_KEY"]
    place("validate")
    place("plan")
    found = place("apply", "-y", code=4)
    assert "CARTESIA_API_KEY" in found.err
    assert place.job("voice")["reason"] == "credentials"
    assert place.ledger().counts == {"cartesia": 0, "oxen": 1, "cloudflare": 0, "cohere": 0}
    assert place.ledger().asked("list", "cartesia") == []


def test_an_unreachable_provider_loses_nothing(place: Place) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        nowhere = f"http://127.0.0.1:{closed.getsockname()[1]}"
        accounts = place.accounts().replace(f"{place.url}/cartesia", nowhere)
        place.write(cartesia("voice"), oxen("chat"), accounts=accounts)
        found = place("apply", "-y", code=1)
        assert "could not connect" in found.err
        job = place.job("voice")
        assert (job["status"], job["reason"]) == ("pending", None)
        assert place.ledger().counts["oxen"] == 1
    place.write(cartesia("voice"), oxen("chat"))
    place.up()
    assert place.job("voice")["status"] == "succeeded"
    assert place.ledger().counts["cartesia"] == 1


@pytest.mark.parametrize(
    "name",
    [
        *("html", "null", "no_id", "gzip_bomb", "deep", "drop_after"),
        pytest.param("endless_pages", marks=pytest.mark.long),
    ],
)
def test_a_listing_that_makes_no_sense_sends_nothing(place: Place, name: str) -> None:
    place.write(cartesia("voice"))
    place.seed("cartesia")
    place.fault(name, operation="list", times=None)
    found = place("apply", "-y", code=1)
    assert "voice: pending" in found.err
    assert place.ledger().asked("create") == []
    place.calm()
    place.up()
    assert place.ledger().counts["cartesia"] == 1


def test_a_database_of_a_newer_schema(place: Place) -> None:
    place.write(cartesia("voice"))
    place("apply", "-y")
    path = place.folder / ".orchestrator" / "state.db"
    with sqlite3.connect(path) as connection:
        connection.execute("update alembic_version set version_num = '9999'")
    connection.close()
    before = path.read_bytes()
    calls = (("plan",), ("apply", "-y"), ("up",), ("status",), ("db", "upgrade"), ("db", "check"))
    for found in place.together(*calls, code=1):
        assert "newer schema 9999" in found.err
        assert "hint:" in found.err
    assert path.read_bytes() == before
    assert len(place.ledger().asked("create")) == 1


def test_a_database_that_is_none(place: Place) -> None:
    place.write(cartesia("voice"))
    place("db", "upgrade")
    path = place.folder / ".orchestrator" / "state.db"
    path.write_bytes(b"not a database, whatever its name is" * 100)
    for found in place.together(("plan",), ("apply", "-y"), ("up",), ("status",), ("db", "check"), code=1):
        assert "not a database" in found.err
        assert "hint:" in found.err
    assert place.ledger().requests == []


def test_a_database_that_others_can_read(place: Place) -> None:
    place.write(cartesia("voice"))
    place("db", "upgrade")
    path = place.folder / ".orchestrator" / "state.db"
    path.chmod(0o644)
    assert f"chmod 600 {path}" in place("apply", "-y", code=1).err
    assert place.ledger().requests == []


def test_a_database_that_does_not_answer(place: Place) -> None:
    place.write(cartesia("voice"))
    place.env["ORCHESTRATOR_DATABASE"] = "postgresql://nobody:hidden-word@127.0.0.1:9/none"
    for found in place.together(("plan",), ("apply",), ("status",), ("db", "upgrade"), code=1):
        assert "hint:" in found.err
        assert "hidden-word" not in found.err
    assert place.ledger().requests == []


def test_an_adapter_that_is_not_there(place: Place) -> None:
    place.write(cloudflare("lora"))
    found = place("plan", code=2)
    assert "adapter" in found.err
    place.adapter()
    (place.folder / "adapter" / "adapter_config.json").unlink()
    assert "adapter_config.json" in place("plan", code=2).err


def test_a_wrong_sandbox_setting(place: Place) -> None:
    place.write(cartesia("voice"))
    name = "ORCHESTRATOR_SANDBOX_STAGE_SECONDS"
    assert name in place("--sandbox", "apply", "-y", env={name: "soon"}, code=2).err


@contextmanager
def mounted(folder: Path, options: str) -> Iterator[None]:
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", folder], capture_output=True)
    if done.returncode != 0:
        pytest.skip(f"cannot mount: {done.stderr.decode().strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


@AS_ROOT
def test_a_full_disk_buys_nothing_and_loses_nothing(place: Place) -> None:
    place.write(cartesia("voice", dataset="stuck-me"))
    state = place.folder / ".orchestrator"
    state.mkdir(mode=0o700)
    with mounted(state, "size=3m,mode=0700"):
        place("apply", "-y")
        filler = state / "filler"
        fill(filler)
        place.write(cartesia("voice", dataset="stuck-me"), cartesia("more"))
        found = place("apply", "-y", code=1)
        assert "free some space" in found.err
        assert len(place.ledger().asked("create")) == 1
        daemon = place.start("up")
        said = daemon.wait()
        assert said == 1
        assert "free some space" in daemon.err
        filler.unlink()
        daemon = place.start("up")
        daemon.until("run.advanced", job="more", status="succeeded")
        fill(filler)
        place.set("cartesia", place.ledger().created["cartesia"][0]["id"], "completed")
        daemon.until("store.failed")
        assert daemon.process.poll() is None
        filler.unlink()
        daemon.until("run.advanced", job="voice", status="succeeded")
        assert daemon.stop() == 0
    assert place.ledger().counts["cartesia"] == 2


def fill(path: Path) -> None:
    """Take all the space that is left."""
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            pass


def test_no_room_for_a_file_that_grows(place: Place) -> None:
    place.write(cartesia("voice"))
    place("db", "upgrade")
    limit = shutil.which("prlimit")
    if limit is None:
        pytest.skip("there is no prlimit")
    place.prefix = (limit, "--fsize=8192")
    found = place("apply", "-y", code=1)
    assert "error:" in found.err
    assert place.ledger().requests == []
    place.prefix = ()
    place("apply", "-y")
    assert place.ledger().counts["cartesia"] == 1


@AS_ROOT
def test_a_read_only_folder(place: Place) -> None:
    outside = place.folder.parent / "locked"
    outside.mkdir()
    with mounted(outside, "size=1m"):
        shutil.copy(place.write(cartesia("voice")), outside)
        subprocess.run(["mount", "-o", "remount,ro", outside], check=True)
        where = ("-C", str(outside))
        for found in place.together((*where, "apply", "-y"), (*where, "up"), code=1):
            assert "cannot make" in found.err
            assert "ORCHESTRATOR_DATABASE" in found.err
        place.together((*where, "validate"), (*where, "plan"), (*where, "status"), (*where, "events"))
        assert place.ledger().requests == []


@AS_ROOT
@pytest.mark.parametrize("journal", ["delete", "wal"])
def test_a_database_in_a_read_only_folder_is_read(place: Place, journal: str) -> None:
    place.write(cartesia("voice"))
    place("apply", "-y")
    outside = place.folder.parent / "locked"
    outside.mkdir()
    with mounted(outside, "size=3m"):
        shutil.copytree(place.folder, outside / "place")
        state = outside / "place" / ".orchestrator" / "state.db"
        with closing(sqlite3.connect(state)) as connection:
            connection.execute(f"pragma journal_mode={journal}")
        subprocess.run(["mount", "-o", "remount,ro", outside], check=True)
        where = ("-C", str(outside / "place"))
        calls = (("plan",), ("status",), ("show", "voice"), ("events",), ("why", "voice"), ("db", "check"))
        found = place.together(*((*where, *call) for call in calls))
        assert "No changes." in found[0].out
        assert "voice" in found[1].out
        assert "writable" in place(*where, "apply", "-y", code=1).err


@AS_ROOT
def test_a_state_folder_that_became_read_only(place: Place) -> None:
    place.write(cartesia("voice"))
    state = place.folder / ".orchestrator"
    state.mkdir(mode=0o700)
    with mounted(state, "size=3m,mode=0700"):
        place("db", "upgrade")
        subprocess.run(["mount", "-o", "remount,ro", state], check=True)
        for found in place.together(("apply", "-y"), ("up",), code=1):
            assert "writable" in found.err
        assert place.ledger().requests == []


def test_a_plan_that_is_no_longer_true(place: Place) -> None:
    place.write(cartesia("voice"))
    place("plan", "--out", "saved.plan")
    place.write(cartesia("voice", language="de"))
    place("apply", "saved.plan", "-y", code=1)
    assert place.ledger().requests == []
    (place.folder / "saved.plan").write_text(json.dumps({"nonsense": 1}))
    place("apply", "saved.plan", "-y", code=None)
    assert place.ledger().requests == []
