"""The two sets of books that are compared: the program's database, and the sandbox's ledger."""

import json
import sqlite3
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psycopg
import sqlalchemy as sa
from psycopg.rows import dict_row

from orchestrator.core.job import find_marker
from orchestrator.store.tables import UTCDateTime, metadata

Row = Mapping[str, Any]
SETTLED = ("succeeded", "failed", "cancelled", "lost")
TABLES = metadata.sorted_tables
UNREADABLE = ("no such table", "unable to open", "locked", "readonly")
"""What SQLite says of a file that is not there yet, in use, or cut off by a kill and not opened since."""


@dataclass(frozen=True)
class Books:
    """The program's database, read as it is; only `elapse` writes to it, as time does."""

    url: str

    @property
    def path(self) -> Path | None:
        """The file, where it is one."""
        prefix = "sqlite:///"
        return Path(self.url.removeprefix(prefix)) if self.url.startswith(prefix) else None

    def ask(self, statement: str) -> list[Row]:
        """Return the rows; none where there is no such database or table yet."""
        if self.path is None:
            with psycopg.connect(self.url, autocommit=True, row_factory=dict_row) as connection:
                return list(connection.execute(statement.encode()))
        try:
            with closing(sqlite3.connect(f"file:{self.path}?mode=ro", uri=True, timeout=5)) as connection:
                connection.row_factory = sqlite3.Row
                return [dict(row) for row in connection.execute(statement)]
        except sqlite3.OperationalError as error:
            if any(part in str(error) for part in UNREADABLE):
                return []
            raise

    def runs(self) -> list[Row]:
        """Return every run."""
        return self.ask("select * from runs order by created_at, id")

    def events(self) -> list[Row]:
        """Return every event of a run."""
        return self.ask("select * from events where run_id is not null order by id")

    def deliveries(self) -> list[Row]:
        """Return what the outbox holds."""
        return self.ask(
            "select d.*, e.run_id, e.sequence from deliveries d join events e on e.id = d.event_id"
            " where e.run_id is not null order by e.id"
        )

    def elapse(self, seconds: float) -> None:
        """Let `seconds` go by for a program that does not run: all that it wrote is older by them."""
        moved = round(seconds * 1_000_000)
        if self.path is not None and not self.ask("select 1 from sqlite_master limit 1"):
            return  # it died before there was anything to write to
        for table in TABLES:
            columns = [column.name for column in table.columns if isinstance(column.type, UTCDateTime)]
            if not columns:
                continue
            sets = ", ".join(f"{name} = {name} - {moved}" for name in columns)
            self._write(f"update {table.name} set {sets}")  # noqa: S608 - our own names

    def clear(self) -> None:
        """Forget everything: the database is lost."""
        if self.path is None:
            names = ", ".join(table.name for table in TABLES)
            self._write(f"truncate {names} restart identity")
            return
        for path in self.path.parent.iterdir():
            if path.is_file():
                path.unlink()

    def cut(self) -> None:
        """Let the server end every connection to this database."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity"
                " where datname = current_database() and pid <> pg_backend_pid()"
            )

    def _write(self, statement: str) -> None:
        if self.path is None:
            with psycopg.connect(self.url, autocommit=True) as connection:
                connection.execute(statement.encode())
            return
        with closing(sqlite3.connect(self.path, timeout=10)) as file, file:
            file.execute(statement)

    def moving(self) -> list[Row]:
        """Return the runs that are not settled."""
        return [
            run
            for run in self.runs()
            if run["status"] not in SETTLED and run["reason"] not in ("parked", "conflict")
        ]

    def rests(self, pid: int) -> bool:
        """Say whether daemon `pid` has nothing to do for more than a second, and nobody is at work."""
        if not self.ask(f"select 1 from daemons where pid = {pid}"):  # noqa: S608 - a number
            return False  # it has not even begun
        soon = (time.time() + 1) * 1_000_000
        runs = self.moving()
        accounts = {
            row["name"]: row["next_poll_at"] or 0
            for row in self.ask("select * from accounts")
            if row["failures"] or row["paused"] is not None
        }
        if not runs:
            return False
        return all(_waits(run, accounts, soon) for run in runs)


def _waits(run: Row, accounts: Mapping[str, int], soon: float) -> bool:
    if run["lease_until"] is not None and run["lease_until"] > (soon - 1_000_000):
        return False
    return max(run["due_at"] or 0, accounts.get(run["account"], 0)) > soon


@dataclass(frozen=True)
class Made:
    """One fine-tune of the sandbox's ledger."""

    id: str
    job: str
    attempt: str
    """The marker, or the job's name where the provider has no place for one."""
    paid: bool


@dataclass(frozen=True)
class Ledger:
    """What the sandbox did for one scenario."""

    made: Sequence[Made]
    requests: Sequence[Row]
    listed: frozenset[str]
    """What a listing shows now."""


class Sandbox:
    """A client of the sandbox's own address, and of its listings."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._client = httpx.Client(timeout=20, trust_env=False)

    def close(self) -> None:
        self._client.close()

    def ask(self, method: str, path: str, **given: Any) -> Any:
        """Ask `/_sandbox`."""
        reply = self._client.request(method, f"{self.url}/_sandbox{path}", **given)
        assert reply.status_code == 200, reply.text
        return reply.json()

    def seq(self) -> int:
        """Return the number of the last request."""
        rows = self.ask("GET", "/ledger", params={"limit": 1})["requests"]
        return int(rows[-1]["seq"]) if rows else 0

    def ledger(self, kind: str, name: str, after: int) -> Ledger:
        """Return what was done for the accounts of `name` since request number `after`."""
        found = self.ask("GET", "/ledger", params={"provider": kind, "after": after, "limit": 20_000})
        mine = (name, f"acme/{name}")
        paid = set(found["paid"][kind])
        made = [
            Made(row["id"], *_whose(kind, row), paid=row["id"] in paid)
            for row in found["created"][kind]
            if row["account"] in mine
        ]
        requests = [row for row in found["requests"] if row["account"] in (*mine, "")]
        return Ledger(made=made, requests=requests, listed=self._listed(kind, name))

    def _listed(self, kind: str, name: str) -> frozenset[str]:
        key = {"authorization": f"Bearer {name}:dummy-key-0123456789"}
        path, holder, headers = {
            "cartesia": ("/cartesia/fine-tunes/?limit=100", "data", {"cartesia-version": "2026-03-01"}),
            "oxen": (f"/oxen/api/repos/acme/{name}/fine_tunes?page=1&page_size=100", "fine_tunes", {}),
            "cloudflare": (f"/cloudflare/client/v4/accounts/{name}/ai/finetunes", "result", {}),
            "cohere": ("/cohere/v1/finetuning/finetuned-models?page_size=100", "finetuned_models", {}),
        }[kind]
        reply = self._client.get(f"{self.url}{path}", headers={**key, **headers})
        assert reply.status_code == 200, reply.text
        rows = reply.json()[holder]
        while isinstance(rows, list) and len(rows) == 1 and isinstance(rows[0], list):
            rows = rows[0]
        return frozenset(row["id"] for row in rows)


def _whose(kind: str, row: Row) -> tuple[str, str]:
    if kind == "oxen":
        place = row["resource"]
        job = (place if isinstance(place, str) else place["path"]).rpartition("/")[2].removesuffix(".parquet")
        return job, job
    text = row["name"] if kind == "cohere" else row.get("description", "")
    mark = find_marker(text) or "none"
    job = row["name"].removesuffix(f"-{mark}") if kind == "cohere" else row["name"]
    return job, mark


def words(path: Path) -> list[dict[str, Any]]:
    """Read the lines of a log that are JSON."""
    lines = path.read_text().splitlines() if path.exists() else []
    return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]


__all__ = ["Books", "Ledger", "Made", "Sandbox", "sa", "words"]
