"""A PostgreSQL for the tests: the one that is named, else the distribution's in a folder of its own."""

import os
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from pwd import getpwnam

import psycopg
import sqlalchemy as sa

NAMED = "ORCHESTRATOR_TEST_POSTGRES"
OPTIONS = "-c listen_addresses='' -c max_connections=200 -c jit=off"
CARELESS = "-c fsync=off -c full_page_writes=off"


class Unavailable(Exception):
    """There is no PostgreSQL here, and why."""


class Postgres:
    """A server; `url` names a database of it that may make others."""

    def __init__(self, url: str) -> None:
        self._url = sa.make_url(url).set(drivername="postgresql")

    def make(self) -> str:
        """Make an empty database and return its URL."""
        name = f"orchestrator_test_{secrets.token_hex(6)}"
        self._execute(f'create database "{name}"')
        return self._url.set(database=name).render_as_string(hide_password=False)

    def drop(self, url: str) -> None:
        """Remove what `make` made, whoever still uses it."""
        self._execute(f'drop database "{sa.make_url(url).database}" with (force)')

    def execute(self, url: str, statement: str) -> None:
        """Run one statement, each in a transaction of its own."""
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(statement.encode())

    def _execute(self, statement: str) -> None:
        self.execute(self._url.render_as_string(hide_password=False), statement)


@contextmanager
def serving(*, durable: bool = False) -> Iterator[Postgres]:
    """Find or start a server; raises `Unavailable` where there is none. Tests need none of it durable."""
    named = os.environ.get(NAMED)
    if named:
        yield Postgres(named)
        return
    binaries = _binaries()
    account = _account()
    folder = Path(tempfile.mkdtemp(prefix="orchestrator-postgres-"))
    try:
        if account is not None:
            shutil.chown(folder, account)

        def run(program: str, *arguments: str) -> None:
            subprocess.run(
                [binaries / program, "-D", folder / "data", *arguments],
                user=account,
                cwd=folder,
                env={"PATH": os.environ["PATH"], "LC_ALL": "C"},
                check=True,
                stdout=subprocess.DEVNULL,
            )

        run("initdb", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync")
        options = f"{OPTIONS} {'' if durable else CARELESS} -c unix_socket_directories='{folder}'"
        run("pg_ctl", "-w", "-l", str(folder / "log"), "-o", options, "start")
        try:
            yield Postgres(f"postgresql://postgres@/postgres?host={folder}")
        finally:
            run("pg_ctl", "-w", "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder)


def _binaries() -> Path:
    """Return the folder of the server's programs, the newest where there are several."""
    found = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    if found:
        return max(found, key=lambda path: float(path.parent.name))
    on_path = shutil.which("initdb")
    if on_path is None:
        raise Unavailable(f"no PostgreSQL: install its server, or name one in {NAMED}")
    return Path(on_path).resolve().parent


def _account() -> str | None:
    """Return whom to be, since the server refuses to run as root."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return getpwnam(name).pw_name
        except KeyError:
            continue
    raise Unavailable("PostgreSQL refuses root, and there is no account `postgres` or `nobody`")
