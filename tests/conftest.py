"""What tests share: a loop, both databases, and a network that ends at this machine."""

import ipaddress
import os
import shutil
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import HealthCheck, settings
from postgres import Postgres, Unavailable, serving

from orchestrator.store.database import Database
from orchestrator.store.file import prepare_file
from orchestrator.store.migrate import upgrade
from orchestrator.store.tables import metadata

TABLES = ", ".join(table.name for table in metadata.sorted_tables)


class Strayed(RuntimeError):
    """A test would have spoken to another machine."""


def _guard(event: str, arguments: tuple[Any, ...]) -> None:
    # No OSError, which the code under test may take for a refusal of the network.
    if event in ("socket.connect", "socket.sendto") and arguments[0].family != socket.AF_UNIX:
        host = str(arguments[1][0])
        if host != "localhost" and not ipaddress.ip_address(host.partition("%")[0]).is_loopback:
            raise Strayed(f"{event} to {host}: tests stay on this machine")


sys.addaudithook(_guard)

# How long an example takes says nothing on a machine that is busy with something else.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL server for the whole run, or a skip that says why there is none."""
    try:
        with serving() as found:
            yield found
    except Unavailable as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def _migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("migrated") / "state.db"
    prepare_file(path)
    anyio.run(_migrate, f"sqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def _migrated_postgres(postgres: Postgres) -> Iterator[str]:
    url = postgres.make()
    anyio.run(_migrate, url)
    yield url
    postgres.drop(url)


async def _migrate(url: str) -> None:
    with Database(url) as database:
        await upgrade(database)


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a migrated, empty database; the test runs on each kind."""
    if request.param == "sqlite":
        path = tmp_path / "state.db"
        shutil.copyfile(request.getfixturevalue("_migrated_file"), path)
        os.chmod(path, 0o600)
        return f"sqlite:///{path}"
    url: str = request.getfixturevalue("_migrated_postgres")
    server: Postgres = request.getfixturevalue("postgres")
    server.execute(url, f"truncate {TABLES} restart identity")
    return url


@pytest.fixture(params=["sqlite", "postgres"])
def blank_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a database without a schema; the test runs on each kind."""
    if request.param == "sqlite":
        path = tmp_path / "blank.db"
        prepare_file(path)
        yield f"sqlite:///{path}"
        return
    server: Postgres = request.getfixturevalue("postgres")
    url = server.make()
    yield url
    server.drop(url)


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """A migrated, empty database; the test runs on each kind."""
    with Database(database_url) as opened:
        yield opened
