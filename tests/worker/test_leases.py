"""Claims in real processes: a database that is away, a daemon that was killed, one that ended."""

import json
import resource
import signal
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
from drive import Place, cartesia, cloudflare, eventually
from outage import Door, door
from postgres import Postgres
from psycopg.rows import dict_row

from orchestrator.store.tables import UTCDateTime, metadata

BEAT = 15.0
"""Far below the half minute in which every loop looks by itself."""


@pytest.fixture
def behind(place: Place, postgres: Postgres) -> Iterator[Door]:
    """A door between the place and a PostgreSQL of its own; a second daemon goes round it."""
    url = postgres.make()
    with door(url) as made:
        place.env["ORCHESTRATOR_DATABASE"] = url
        place.adapter()
        place.write(cloudflare("lora"), cartesia("voice", dataset="stuck-me"))
        place("db", "upgrade")
        try:
            yield made
        finally:
            place.end()
            postgres.drop(url)


def ask(place: Place, statement: str) -> list[Any]:
    url = place.env.get("ORCHESTRATOR_DATABASE")
    if url is not None:
        with psycopg.connect(url, row_factory=dict_row) as connection:
            return connection.execute(statement.encode()).fetchall()
    with closing(sqlite3.connect(place.folder / ".orchestrator" / "state.db", timeout=10)) as connection:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute(statement)]


def holder(place: Place, table: str) -> Callable[[], str | None]:
    """Return what tells who has claimed a row of this table."""

    def look() -> str | None:
        found = ask(place, f"select owner from {table} where owner is not null")  # noqa: S608 - our own name
        return found[0]["owner"] if found else None

    return look


def uploading(place: Place) -> bool:
    """Say whether the first file is on its way, which is written down before."""
    rows = ask(place, "select steps from runs where owner is not null")
    steps = [row["steps"] if isinstance(row["steps"], dict) else json.loads(row["steps"]) for row in rows]
    return any("sent" in one.values() for one in steps)


def test_a_database_that_was_away_during_an_upload_strands_nothing(place: Place, behind: Door) -> None:
    place.fault("delay", operation="upload", seconds=1.5)
    daemon = place.start("up", env={"ORCHESTRATOR_DATABASE": behind.url})
    place.until(lambda: uploading(place), "the upload")
    daemon.signal(signal.SIGSTOP)
    why = place("why", "lora").out
    behind.shut()
    daemon.signal(signal.SIGCONT)
    daemon.until("claims.owed")
    behind.open()
    eventually(lambda: place.job("lora")["status"] == "succeeded", "the second file", BEAT)
    assert f"pid {daemon.process.pid}" in why
    assert daemon.stop() == 0
    assert place.ledger().counts["cloudflare"] == 1


ROOM = 16 * 1024
"""Bytes that a file may have: enough for the log, not for the database nor for most of its journals."""


def test_a_full_disk_during_an_upload_strands_nothing(place: Place) -> None:
    place.adapter()
    place.write(cloudflare("lora"), cartesia("voice", dataset="stuck-me"))
    place("db", "upgrade")
    place.fault("delay", operation="upload", seconds=1.5)
    daemon = place.start("up")
    place.until(lambda: uploading(place), "the upload")
    pid = daemon.process.pid
    before = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (ROOM, before[1]))
    failed = daemon.until("store.failed")
    daemon.until("claims.owed")
    resource.prlimit(pid, resource.RLIMIT_FSIZE, before)
    eventually(lambda: place.job("lora")["status"] == "succeeded", "the second file", BEAT)
    assert "free some space" in failed["hint"]
    assert daemon.said("store.back")
    assert daemon.stop() == 0
    assert place.ledger().counts["cloudflare"] == 1


def test_another_daemon_goes_on_at_once(place: Place, behind: Door) -> None:
    """Within a beat where one was killed on the same machine, in no time where it ended."""
    place.fault("hang_before", operation="upload")
    first = place.start("up")
    place.until(lambda: uploading(place), "the upload")
    eventually(holder(place, "accounts"), "a look")
    second = place.start("up")
    second.until("daemon.started")
    first.kill()
    eventually(lambda: place.job("lora")["status"] == "succeeded", "the uploads", BEAT)
    eventually(lambda: f"/{second.process.pid}/" in (holder(place, "accounts")() or ""), "a look", BEAT)
    third = place.start("up")
    third.until("daemon.started")
    assert second.stop() == 0
    eventually(lambda: f"/{third.process.pid}/" in (holder(place, "accounts")() or ""), "a look", 5.0)
    assert third.stop() == 0
    assert holder(place, "accounts")() is None
    counts = place.ledger().counts
    assert (counts["cloudflare"], counts["cartesia"]) == (1, 1)


HOUR = 3600
FAKETIME = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1")
TIMES = [table for table in metadata.sorted_tables if any(isinstance(c.type, UTCDateTime) for c in table.c)]


def put_back(place: Place) -> None:
    """Let the clock go back by an hour while no daemon runs: all that was written is of times to come."""
    statements = [
        f"update {table.name} set "  # noqa: S608 - our own names
        + ", ".join(
            f"{c.name} = {c.name} + {HOUR * 1_000_000}" for c in table.c if isinstance(c.type, UTCDateTime)
        )
        for table in TIMES
    ]
    url = place.env.get("ORCHESTRATOR_DATABASE")
    if url is not None:
        with psycopg.connect(url) as server:
            for one in statements:
                server.execute(one.encode())
        return
    with closing(sqlite3.connect(place.folder / ".orchestrator" / "state.db")) as file, file:
        for one in statements:
            file.execute(one)


def looks(place: Place) -> int:
    return len(place.ledger().asked("list", "cartesia"))


def goes_on(place: Place) -> None:
    """Check that it looks again and again, and sends what is new."""
    seen = looks(place)
    eventually(lambda: looks(place) > seen + 2, "looks")
    eventually(lambda: place.ledger().counts["cartesia"] == 2, "the new run")


@pytest.mark.parametrize("server", [False, True], ids=["sqlite", "postgres"])
def test_a_clock_that_was_put_back_delays_nothing(
    place: Place, server: bool, request: pytest.FixtureRequest
) -> None:
    if server:
        request.getfixturevalue("behind")
    place.write(cartesia("voice", dataset="stuck-me"))
    daemon = place.start("up")
    eventually(lambda: looks(place) > 1, "a look")
    place.fault("status", operation="create", code=429, retry_after=100)
    place.write(cartesia("voice", dataset="stuck-me"), cartesia("other", dataset="stuck-me"))
    daemon.until("run.advanced", job="other", before="submitting", status="pending")
    daemon.until("account.failed")
    daemon.kill()
    put_back(place)
    daemon = place.start("up")
    goes_on(place)
    assert daemon.stop() == 0


@pytest.mark.skipif(not FAKETIME.exists(), reason="libfaketime is not there: apt-get install faketime")
def test_a_clock_that_is_put_back_meanwhile_delays_nothing(place: Place, tmp_path: Path) -> None:
    place.write(cartesia("voice", dataset="stuck-me"))
    clock = tmp_path / "clock"
    clock.write_text("+0")
    place.prefix = (
        "env",
        f"LD_PRELOAD={FAKETIME}",
        f"FAKETIME_TIMESTAMP_FILE={clock}",
        "FAKETIME_CACHE_DURATION=1",
        "DONT_FAKE_MONOTONIC=1",
    )
    daemon = place.start("up")
    place.prefix = ()
    eventually(lambda: looks(place) > 1, "a look")
    clock.write_text(f"-{HOUR}")
    daemon.until("clock.stepped")
    place.write(cartesia("voice", dataset="stuck-me"), cartesia("other", dataset="stuck-me"))
    goes_on(place)
    assert daemon.stop() == 0
