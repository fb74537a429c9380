"""Ending claims: those of the dead, and those that a clock which was put back would let last for too long."""

from collections.abc import Callable, Collection
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from orchestrator.store.claim import KEYS, LEASE, Claim, awake, lock_rows
from orchestrator.store.database import Tx
from orchestrator.store.rows import PENDING
from orchestrator.store.tables import deliveries


def end_of(tx: Tx, project: str, owners: Collection[str]) -> int:
    """End all claims of these owners; whoever thinks to have one writes nothing by it any more."""
    count = 0
    for key in KEYS.values() if owners else ():
        theirs = [*_owned(key.table, project), key.table.c.owner.in_(sorted(owners))]
        lock_rows(tx, key, theirs)
        ended = tx.execute(sa.update(key.table).where(*theirs).values(**_ended(key.table)))
        count += ended.rowcount
    return count


def dead(tx: Tx, project: str, alive: Callable[[str], bool]) -> Collection[str]:
    """Return the owners of claims that are known to be dead."""
    found: set[str] = set()
    for key in KEYS.values():
        owners = sa.select(key.table.c.owner).where(*_owned(key.table, project)).distinct()
        found |= {row.owner for row in tx.execute(owners)}
    return [owner for owner in found if not alive(owner)]


class Overlong:
    """Ends leases that last longer than any does, once they stood unrenewed for as long as one lasts.

    They were written before the clock was put back. A process that lives renews its own meanwhile.
    """

    def __init__(self) -> None:
        self._known: set[tuple[Claim, datetime]] = set()
        self._next: float | None = 0.0

    def look_again(self) -> None:
        """Look for them with the next beat: the clock was set."""
        self._known, self._next = set(), 0.0

    def end(self, tx: Tx, project: str) -> int:
        """Look where it is time to, and return how many were ended."""
        if self._next is None or awake() < self._next:
            return 0
        found: set[tuple[Claim, datetime]] = set()
        for name, key in KEYS.items():
            row = key.table.c
            too_long = [*_owned(key.table, project), row.lease_until > tx.now + LEASE]
            rows = tx.execute(sa.select(key, row.epoch, row.lease_until).where(*too_long))
            found |= {(Claim(name, one[0], one.epoch), one.lease_until) for one in rows}
        stale = found & self._known
        for claim, _ in sorted(stale):
            key = KEYS[claim.table]
            one = [key.table.c.project == project, key == claim.key, key.table.c.epoch == claim.epoch]
            tx.execute(sa.update(key.table).where(*one).values(**_ended(key.table)))
        self._known = found - stale
        self._next = awake() + LEASE.total_seconds() if self._known else None
        return len(stale)


def _owned(table: Any, project: str) -> list[sa.ColumnElement[bool]]:
    where = [table.c.project == project, table.c.owner.is_not(None)]
    return [*where, deliveries.c.state == PENDING] if table is deliveries else where


def _ended(table: Any) -> dict[str, Any]:
    return {"owner": None, "lease_until": None, "epoch": table.c.epoch + 1}
