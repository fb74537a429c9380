"""What the faces must not do each in their own way: the API, the command line and Python."""

import json
import sqlite3
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from orchestrator import Orchestrator
from orchestrator.core.run import Status
from orchestrator.core.transition import finish
from orchestrator.web.app import Api
from orchestrator.worker.engine import Engine

JOBS = """
[providers.cartesia]
base_url = "http://127.0.0.1:9"  # where nothing listens
[jobs.voice]
provider = "cartesia"
[jobs.voice.spec]
description = "A voice"
language = "en"
model_id = "sonic-3-2026-01-12"
dataset = "dataset_1"
"""


class Well:
    """A daemon that is well."""

    progress: Mapping[str, datetime] = {}
    trouble: str | None = None


@pytest.fixture
async def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Engine]:
    """An engine whose only job is recorded, and whose account did not answer."""
    monkeypatch.setenv("CARTESIA_API_KEY", "a-dummy-credential")
    (tmp_path / "jobs.toml").write_text(JOBS)
    async with Orchestrator.open(tmp_path / "jobs.toml") as jobs:
        await jobs.apply(await jobs.plan())
        yield jobs._engine


async def next_poll(engine: Engine) -> datetime:
    (account,) = await engine.store.accounts.all()
    assert account.next_poll_at is not None
    return account.next_poll_at


def body(answer: Any) -> Any:
    return json.loads(answer.body)


async def test_a_retry_from_the_api_lets_its_account_be_asked_at_once(engine: Engine) -> None:
    (standing,) = await engine.store.views.standings()
    assert standing.run is not None
    ended = partial(finish, status=Status.FAILED, message="it did not come out")
    await engine.store.decisions.move(standing.run, ended, engine.routing)
    later = datetime.now(UTC) + timedelta(hours=1)
    await engine.store.accounts.fail("cartesia", "HTTP 500", until=later)
    assert await next_poll(engine) > datetime.now(UTC)
    assert body(await Api(engine, Well()).retry("voice"))["job"]["attempt"] == 2
    assert await next_poll(engine) <= datetime.now(UTC)


async def test_a_kind_that_is_not_installed_is_told_of(engine: Engine) -> None:
    path = engine.store.database.path
    assert path is not None
    with sqlite3.connect(path) as database:
        database.execute("update runs set kind = 'gone', status = 'running', remote_id = 'ft_1'")
    database.close()
    found = body(await Api(engine, Well()).cancel("voice"))
    assert found["job"]["cancel_requested"] is True
    assert found["notes"] == [
        "No provider of kind gone is installed: the request is recorded, but billing continues."
    ]
