"""Which pending runs of an account start: read and locked here, decided by `core.admission`."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import sqlalchemy as sa

from orchestrator.core.admission import NO_ROOM, AccountLimits, Candidate, admit_all, rest_of
from orchestrator.core.run import OPEN, Status
from orchestrator.store.commit import lock
from orchestrator.store.database import Tx
from orchestrator.store.tables import accounts, runs

PAGE: Final = 200
"""Candidates that are read at a time; a run that waits for another is passed over."""
TOLD: Final = 500
"""Runs of one statement that are marked as waiting for room."""


class Starts:
    """The pending runs of one account within one transaction."""

    def __init__(self, tx: Tx, project: str, account: str, free: sa.ColumnElement[bool]) -> None:
        self._tx = tx
        self._mine = sa.and_(runs.c.project == project, runs.c.account == account)
        self._account = sa.and_(accounts.c.project == project, accounts.c.name == account)
        self._free = free

    def choose(self, *, most: int, max_running: int | None) -> Sequence[str]:
        """Return the ids of at most `most` runs that start now, oldest first.

        The runs that only wait for room are marked so. Both stay locked until the transaction ends.
        """
        limits = self._limits(max_running)
        start: list[str] = []
        waiting: list[str] = []
        last: sa.Row[Any] | None = None
        while True:
            room = replace(limits, open=limits.open + len(start))
            if len(start) == most and not room.full:
                break
            page = self._page(last, untold=room.full)
            found = admit_all([_candidate(row) for row in page], room, self._tx.now, most=most - len(start))
            start += found.start
            unmarked = {row.id for row in page if row.reason is None}
            waiting += [name for name, wait in found.waits if wait is NO_ROOM and name in unmarked]
            if len(page) < PAGE:
                break
            last = page[-1]
        self._mark(waiting)
        return start

    def _limits(self, max_running: int | None) -> AccountLimits:
        """Lock the account, so that two never share out the same room, and say what it allows."""
        row = self._tx.execute(sa.select(accounts).where(self._account).with_for_update()).one_or_none()
        taken = 0 if max_running is None else self._open()
        if row is None:
            return AccountLimits(open=taken, max_running=max_running)
        rests_until = rest_of(
            paused=row.paused,
            failures=row.failures,
            next_poll_at=row.next_poll_at,
            blocked_until=row.blocked_until,
        )
        return AccountLimits(open=taken, max_running=max_running, paused=row.paused, rests_until=rests_until)

    def _open(self) -> int:
        claimed = sa.and_(runs.c.status == Status.PENDING, runs.c.lease_until >= self._tx.now)
        taken = sa.or_(runs.c.status.in_(OPEN), claimed)
        count = self._tx.execute(sa.select(sa.func.count()).where(self._mine, taken))
        return int(count.scalar_one())

    def _page(self, last: sa.Row[Any] | None, *, untold: bool) -> Sequence[sa.Row[Any]]:
        """Read the oldest due runs after `last`; without room only those matter that are not marked yet."""
        first = runs.alias("first")
        where = [
            self._mine,
            runs.c.status == Status.PENDING,
            self._free,
            sa.or_(runs.c.due_at.is_(None), runs.c.due_at <= self._tx.now),
        ]
        if untold:
            where.append(runs.c.reason.is_(None))
        if last is not None:
            same = sa.and_(runs.c.created_at == last.created_at, runs.c.id > last.id)
            where.append(sa.or_(runs.c.created_at > last.created_at, same))
        columns = (runs.c.id, runs.c.status, runs.c.reason, runs.c.due_at, runs.c.after)
        return self._tx.execute(
            sa.select(*columns, runs.c.created_at, first.c.status.label("after_status"))
            .select_from(runs.outerjoin(first, first.c.id == runs.c.after))
            .where(*where)
            .order_by(runs.c.created_at, runs.c.id)
            .limit(PAGE)
            .with_for_update(of=runs, skip_locked=True)
        ).all()

    def _mark(self, ids: Sequence[str]) -> None:
        reason = {"reason": NO_ROOM.reason, "message": NO_ROOM.message}
        for begin in range(0, len(ids), TOLD):
            part = runs.c.id.in_(ids[begin : begin + TOLD])
            lock(self._tx, part)
            self._tx.execute(sa.update(runs).where(part).values(reason))


def _candidate(row: sa.Row[Any]) -> Candidate:
    return Candidate(
        id=row.id,
        status=Status(row.status),
        due_at=row.due_at,
        after=row.after,
        after_status=None if row.after_status is None else Status(row.after_status),
    )
