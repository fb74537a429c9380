"""What a claim is: a row of one of three tables, the epoch that it was claimed with, and for how long."""

import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final, NamedTuple

import sqlalchemy as sa

from orchestrator import crashpoint
from orchestrator.store.database import Tx
from orchestrator.store.tables import accounts, deliveries, runs

LEASE: Final = timedelta(seconds=crashpoint.lease(30))
"""How long a claim lasts that nobody renews: the longest until another process goes on."""
BEAT: Final = LEASE / 6
SURE: Final = LEASE / 3
"""How long after its renewal a claim is still sure enough to send a request that changes something."""

KEYS: Final[Mapping[str, sa.Column[Any]]] = {
    "accounts": accounts.c.name,
    "runs": runs.c.id,
    "deliveries": deliveries.c.id,
}
"""The tables with leases and what names their rows in a project, in the order in which they are locked."""


class Claim(NamedTuple):
    """One row as one claim has it."""

    table: str
    key: str
    epoch: int


def awake() -> float:
    """Tell the time, in seconds, by a clock that goes on while the program or its machine is asleep."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def by_table(claims: Iterable[Claim]) -> Iterable[tuple[Any, sa.Column[Any], list[Claim]]]:
    """Yield each table with its key and its claims, in the order in which the tables are locked."""
    named = sorted(claims)
    for name, key in KEYS.items():
        mine = [claim for claim in named if claim.table == name]
        if mine:
            yield key.table, key, mine


def lock_rows(tx: Tx, key: sa.Column[Any], where: Sequence[sa.ColumnElement[bool]]) -> None:
    """Lock rows in the order of their keys, as all do that lock several: nobody waits in a circle."""
    if tx.connection.dialect.name == "postgresql":
        tx.execute(sa.select(key).where(*where).order_by(key).with_for_update())
