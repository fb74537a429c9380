"""The least code that does the work: raw httpx, JSON, and plain SQL in as many transactions."""

import json
import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path

import httpx

from benchmarks.world import ACCOUNT, KEY, PAGE, PROJECT
from orchestrator.store.tables import deliveries

HEADERS = {"Authorization": f"Bearer {KEY}", "Cartesia-Version": "2026-03-01"}
OPEN = "select remote_id, provider_status from runs where project = ? and account = ? and status in (?, ?)"
RUN = "update runs set status = 'running', provider_status = ?, updated_at = 0, sequence = 3 where remote_id = ? and project = ? and account = ?"  # noqa: E501 - one statement
EVENT = (
    "insert into events (project, type, timestamp, account, job, status) "
    "values (?, 'job.running', 0, ?, 'floor', 'running') returning id"
)
DELIVERY_VALUES: Mapping[str, object] = {
    **{column.name: 0 for column in deliveries.c if not column.nullable},
    "project": PROJECT,
    "hook": "team",
    "event": "job.running",
    "job": "floor",
    "lane": "floor",
    "body": b"x" * 500,
    "state": "pending",
    "due_at": 0,
}
DELIVERY = (
    f"insert into deliveries ({', '.join(DELIVERY_VALUES)}) "  # noqa: S608 - names of columns
    f"values ({', '.join(f':{name}' for name in DELIVERY_VALUES)})"
)


def connect(path: Path) -> sqlite3.Connection:
    """Open the database as safely as the store does."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("pragma journal_mode=truncate")
    connection.execute("pragma synchronous=extra")
    return connection


def known(connection: sqlite3.Connection) -> Mapping[str, str]:
    """Read the open runs with their last word."""
    return dict(connection.execute(OPEN, (PROJECT, ACCOUNT, "queued", "running")).fetchall())


async def tick(client: httpx.AsyncClient, connection: sqlite3.Connection) -> int:
    """List everything, write what has changed, a transaction for each page, and return how much it was."""
    waiting, count = dict(known(connection)), 0
    params: dict[str, str | int] = {"limit": PAGE}
    while True:
        reply = await client.get("/cartesia/fine-tunes/", params=params)
        page = json.loads(reply.content)
        changed = [item for item in page["data"] if waiting.pop(item["id"], None) != item["status"]]
        if changed:
            write(connection, changed)
            count += len(changed)
        if not page["has_more"] or not waiting:
            return count
        params["starting_after"] = page["data"][-1]["id"]


def write(connection: sqlite3.Connection, changed: Sequence[Mapping[str, str]]) -> None:
    """Write runs, events and deliveries of one page."""
    connection.execute("begin immediate")
    connection.executemany(RUN, [(item["status"], item["id"], PROJECT, ACCOUNT) for item in changed])
    ids = [connection.execute(EVENT, (PROJECT, ACCOUNT)).fetchone()[0] for _ in changed]
    rows = [{**DELIVERY_VALUES, "id": f"floor_{one}", "event_id": one} for one in ids]
    connection.executemany(DELIVERY, rows)
    connection.execute("commit")


async def submit(client: httpx.AsyncClient, connection: sqlite3.Connection, count: int) -> None:
    """Buy `count` fine-tunes one after the other: a commit for the claim, the intent and the id of each."""
    for number in range(count):
        for step in ("claim", "intent", "id"):
            if step == "id":
                body = {"name": f"floor-{number}", "description": "x", "language": "en"}
                body |= {"model_id": "sonic-3", "dataset": f"floor-{number}"}
                reply = await client.post("/cartesia/fine-tunes/", json=body)
                json.loads(reply.raise_for_status().content)
            connection.execute("begin immediate")
            connection.execute(EVENT, (PROJECT, ACCOUNT)).fetchall()
            connection.execute("commit")


def client(url: str) -> httpx.AsyncClient:
    """Open one pooled client, as anybody would."""
    return httpx.AsyncClient(base_url=url, headers=HEADERS, timeout=60, trust_env=False)
