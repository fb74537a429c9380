"""Sending by the books of the sandbox: what must be in place before anything is bought."""

import fcntl
import json
import sqlite3
from contextlib import closing, suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest
from core.make import a_record
from crowded import crowded
from store.make import put

from orchestrator.core.changeset import new_run
from orchestrator.providers.registry import registry
from orchestrator.worker.account import FRESH
from orchestrator.worker.submit import BATCH

from .watching import Watching, of

SECOND = timedelta(seconds=1)


async def wanted(watched: Watching, *names: str, **spec: Any) -> None:
    """Record a run for each job, not sent yet, with `spec` beside the usual."""
    jobs = [watched.a_job(name) for name in names]
    jobs = [replace(job, spec={**job.spec, **spec}) for job in jobs]
    steps = registry()[watched.kind].steps
    made = [new_run(job, "acme", 1, watched.clock.now, f"run-{job.name}", steps) for job in jobs]
    await put(watched.store, *made, records=[a_record(job) for job in jobs])


@pytest.mark.timeout(60)
@of("cartesia")
async def test_nothing_is_bought_while_its_reply_might_be_dropped_from_the_journal(watched: Watching) -> None:
    await wanted(watched, "voice")
    with (watched.folder / "replies.jsonl").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # another process is about to cut it, and stands still there
        with suppress(OSError):
            await watched.engine.round(watched.kind)
    assert "create" not in watched.asked
    assert await watched.statuses() == ["pending"]
    await watched.engine.round(watched.kind)
    assert watched.asked.count("create") == 1
    assert await watched.statuses() == ["queued"]


@pytest.mark.timeout(60)
@of("cartesia")
async def test_hooks_that_hang_in_threads_hold_up_no_purchase(watched: Watching) -> None:
    await wanted(watched, "voice")
    with crowded(), anyio.fail_after(20):
        await watched.engine.round(watched.kind)
    assert await watched.statuses() == ["queued"]


def every_status(watched: Watching) -> None:
    """Let the database itself write down each status that a run is ever given."""
    with closing(sqlite3.connect(watched.folder / "state.db")) as file:
        file.executescript(
            "CREATE TABLE given (status TEXT); CREATE TRIGGER noted AFTER UPDATE OF status ON runs "
            "BEGIN INSERT INTO given VALUES (NEW.status); END;"
        )


def given(watched: Watching) -> set[str]:
    with closing(sqlite3.connect(watched.folder / "state.db")) as file:
        return {status for (status,) in file.execute("SELECT status FROM given")}


@of("cohere")
async def test_a_secret_that_is_missing_is_known_before_the_intent(watched: Watching) -> None:
    settings = dict(watched.a_job("x").spec["settings"])
    settings["wandb"] = {"project": "p", "api_key": {"env": "NOT_SET"}}
    await wanted(watched, "labels", settings=settings)
    every_status(watched)
    await watched.engine.round(watched.kind)
    [row] = await watched.rows()
    assert (row["status"], row["reason"]) == ("pending", "credentials")
    assert "NOT_SET" in row["message"]
    assert given(watched) == {"pending"}
    assert "create" not in watched.asked


@of("cartesia")
async def test_a_spec_of_an_older_release_fails_and_is_not_sent(watched: Watching) -> None:
    await wanted(watched, "voice", accent="a field that is not known by now")
    every_status(watched)
    await watched.engine.round(watched.kind)
    [row] = await watched.rows()
    assert row["status"] == "failed"
    assert row["message"] == "nothing was sent: this release does not take the spec's accent"
    assert given(watched) == {"failed"}
    assert "create" not in watched.asked


@of("cartesia")
async def test_one_listing_serves_all_that_was_recorded_before_it_began(watched: Watching) -> None:
    await wanted(watched, *(f"voice-{number:02}" for number in range(BATCH * 2 + 5)))
    while await watched.engine.send(watched.kind):
        pass
    operations = [one for one in watched.asked if one in ("create", "list")]
    assert operations.count("create") == BATCH * 2 + 5
    assert operations[:1] == ["list"]
    assert "list" not in operations[1 : BATCH + 2]
    first = operations.count("list")

    watched.clock.forward(SECOND)
    await wanted(watched, "later")
    await watched.engine.send(watched.kind)
    assert watched.asked.count("list") > first, "it was recorded after the listing began"


@of("cartesia")
async def test_no_listing_of_long_ago_precedes_a_purchase(watched: Watching) -> None:
    await wanted(watched, "one")
    await watched.engine.send(watched.kind)
    asked = watched.asked.count("list")
    await wanted(watched, "other")  # at the very time of that listing
    watched.clock.forward(FRESH)
    await watched.engine.send(watched.kind)
    assert watched.asked.count("create") == 2
    assert watched.asked.count("list") > asked


@of("cartesia")
async def test_after_a_refusal_for_now_a_listing_precedes_whatever_is_sent_next(watched: Watching) -> None:
    await wanted(watched, "one", "other")
    watched.bench.fault("status", operation="create", code=429)
    await watched.engine.send(watched.kind)
    asked = watched.asked.count("list")
    watched.clock.forward(20 * SECOND)
    await watched.engine.close()  # its limiter's clock is not ours: the real seconds are not waited for
    await watched.engine.send(watched.kind)
    assert watched.asked.count("list") > asked


@of("cohere")
async def test_the_intent_holds_what_is_sent_less_its_secrets(tmp_path: Path, watched: Watching) -> None:
    key = tmp_path / "wandb"
    key.write_text("wandb-canary-0123456789")
    key.chmod(0o600)
    settings = dict(watched.a_job("x").spec["settings"])
    settings["wandb"] = {"project": "p", "api_key": {"file": str(key)}}
    await wanted(watched, "labels", settings=settings)
    every_status(watched)
    with closing(sqlite3.connect(watched.folder / "state.db")) as file:
        file.executescript(
            "DELETE FROM given; CREATE TRIGGER kept AFTER UPDATE OF request ON runs "
            "WHEN NEW.status = 'submitting' BEGIN INSERT INTO given VALUES (NEW.request); END;"
        )
    await watched.engine.round(watched.kind)
    [row] = await watched.rows()
    [told] = given(watched) - {"submitting", "queued"}  # in the commit of the intent itself
    assert json.loads(told) == row["request"] == {"settings": settings, "name": f"labels-{row['marker']}"}
    [made] = watched.bench.creations()
    assert made["name"] == row["request"]["name"]
    assert made["settings"]["wandb"]["api_key"] == "***"  # the sandbox was sent one
    assert b"wandb-canary" not in (watched.folder / "state.db").read_bytes()
