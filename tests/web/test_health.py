"""Readiness: loops that are late, a daemon that stops, files that are refused, a store that fails."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from orchestrator.config.load import load
from orchestrator.config.manifest import Kinds
from orchestrator.daemon.daemon import Daemon
from orchestrator.store.database import Database
from orchestrator.store.store import Store
from orchestrator.web.app import create_app
from orchestrator.web.health import LATE
from orchestrator.worker.engine import Engine
from orchestrator.worker.journal import Journal

from .daemon import JOBS, running, until

SECOND = timedelta(seconds=1)


def daemon_on(database: Database, folder: Path) -> Daemon:
    """A daemon that does not run, so that its loops are where a test puts them."""
    (folder / "jobs.toml").write_text("")
    manifest = load([folder / "jobs.toml"], Kinds(providers={}, hooks={}), {})
    engine = Engine(Store(database, "web"), manifest, Journal(folder / "replies.jsonl"), {})
    return Daemon(engine=engine, reload=lambda: manifest)


def asking(daemon: Daemon) -> httpx.AsyncClient:
    """A client of its application, without the server between."""
    transport = httpx.ASGITransport(app=create_app(daemon.engine, daemon))
    return httpx.AsyncClient(transport=transport, base_url="http://localhost")


@pytest.fixture
def daemon(database: Database, tmp_path: Path) -> Daemon:
    return daemon_on(database, tmp_path)


@pytest.fixture
async def client(daemon: Daemon) -> AsyncIterator[httpx.AsyncClient]:
    async with asking(daemon) as opened:
        yield opened


async def test_ready_while_every_loop_goes_round(daemon: Daemon, client: httpx.AsyncClient) -> None:
    daemon.progress |= {"account a": datetime.now(UTC), "beat": datetime.now(UTC) - LATE / 2}
    reply = await client.get("/readyz")
    assert reply.status_code == 200
    assert reply.json() == {"ready": True, "late": [], "stopping": False, "trouble": None}


async def test_late_loops_are_named(daemon: Daemon, client: httpx.AsyncClient) -> None:
    late = datetime.now(UTC) - LATE - SECOND
    daemon.progress |= {"hook b": late, "account a": late, "beat": datetime.now(UTC)}
    reply = await client.get("/readyz")
    assert (reply.status_code, reply.json()["late"]) == (503, ["account a", "hook b"])


async def test_not_ready_while_it_stops(daemon: Daemon, client: httpx.AsyncClient) -> None:
    daemon.stop()
    reply = await client.get("/readyz")
    assert (reply.status_code, reply.json()["stopping"]) == (503, True)


@pytest.mark.parametrize("path", ["jobs", "jobs/one", "events", "deliveries"])
async def test_a_store_that_fails_is_said(blank_url: str, tmp_path: Path, path: str) -> None:
    with Database(blank_url) as empty:
        async with asking(daemon_on(empty, tmp_path)) as client:
            reply = await client.get(f"/api/v1/{path}")
    assert (reply.status_code, set(reply.json())) == (503, {"error", "hint"})
    assert "no such table" in reply.text or "does not exist" in reply.text


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("jobs/%00", 422),
        ("jobs/a%00b", 422),
        ("deliveries?after=%00", 422),
        ("deliveries?after=msg_unknown", 200),
        ("jobs/%F0%9F%98%80'\";--", 404),
        ("jobs/%ED%A0%80", 404),
        (f"jobs/{'a' * 2001}", 422),
        ("events?after=9223372036854775807", 200),
    ],
)
async def test_what_neither_database_likes(client: httpx.AsyncClient, path: str, code: int) -> None:
    assert (await client.get(f"/api/v1/{path}")).status_code == code


def test_refused_files_are_told_and_forgotten_when_they_are_right(tmp_path: Path) -> None:
    with running(tmp_path) as daemon:
        client = daemon.listen()
        (tmp_path / "jobs.toml").write_text(JOBS + "[jobs.more]\n")
        until(lambda: "jobs.more" in (client.get("/readyz").json()["trouble"] or ""))
        assert client.get("/readyz").status_code == 200  # the last good files are in force
        (tmp_path / "jobs.toml").write_text(JOBS)
        until(lambda: client.get("/readyz").json()["trouble"] is None)
