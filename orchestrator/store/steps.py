"""Clocks that are set: noticed by one that nobody sets; what they put off for too long is due now."""

from datetime import UTC, datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa

from orchestrator.core.delivery import LONGEST_WAIT
from orchestrator.core.receiver import LONGEST_REST
from orchestrator.core.run import FINAL, Status
from orchestrator.core.schedule import LONGEST_ASKED, LONGEST_BACKOFF, LONGEST_DELAY
from orchestrator.store.claim import awake
from orchestrator.store.commit import lock, notify
from orchestrator.store.database import Database, Tx
from orchestrator.store.rows import PENDING
from orchestrator.store.tables import accounts, daemons, deliveries, origins, runs

NOTICED: Final = 2.0
"""Seconds; less than that is the jitter of a slow answer, or a clock that is only slewed."""

UNSURE: Final = (Status.SUBMITTING, Status.IN_DOUBT)


class Clocks:
    """Compares this machine's clock and the database's with one that nobody sets."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[float, float]] = {}

    def stepped(self, database: datetime, begun: float) -> float:
        """Return by how many seconds a clock was set since the last call, 0 where none was.

        `database` is the time that a transaction got there which was begun at `begun`, by `awake`.
        """
        ended = awake()
        steps = (
            self._step("here", datetime.now(UTC), ended, awake()),
            self._step("database", database, begun, ended),
        )
        return max(steps, key=abs)

    def _step(self, clock: str, now: datetime, earliest: float, latest: float) -> float:
        """Compare how far `now` is ahead, as far as that is known, with the last time."""
        least, most = now.timestamp() - latest, now.timestamp() - earliest
        was_least, was_most = self._seen.get(clock, (least, most))
        self._seen[clock] = least, most
        step = min(most - was_least, 0.0) or max(least - was_most, 0.0)
        return step if abs(step) > NOTICED else 0.0


class Times:
    """The times at which the rows of one project are due."""

    def __init__(self, database: Database, project: str) -> None:
        self._database = database
        self._project = project

    async def mend(self, *, put_back: bool = False) -> int:
        """Let what waits for a clock that was put back be due now; returns how many rows that were.

        Where it is not known that it was, that is what is put off for longer than anything is. Claims are
        left to those who hold them.
        """

        def late(tx: Tx) -> _Late:
            seen = sa.select(sa.func.max(daemons.c.seen_at)).where(daemons.c.project == self._project)
            last = (tx.execute(seen)).scalar()
            ahead = last is not None and (last - tx.now).total_seconds() > NOTICED
            return _Late(self._project, tx.now, put_back=put_back or ahead)

        def any_late(tx: Tx) -> bool:
            found = late(tx)
            for table, where, _ in found.rows():
                one = sa.select(sa.literal(1)).select_from(table).where(*where).limit(1)
                if (tx.execute(one)).first() is not None:
                    return True
            return bool(found.accounts(tx))

        def work(tx: Tx) -> int:
            found = late(tx)
            names = found.accounts(tx)
            named = [accounts.c.project == self._project, accounts.c.name.in_(names)]
            tx.execute(sa.update(accounts).where(*named).values(next_poll_at=tx.now, blocked_until=None))
            count = len(names)
            for table, where, column in found.rows():
                if table is runs:
                    lock(tx, *where)
                changed = tx.execute(sa.update(table).where(*where).values({column: tx.now}))
                count += changed.rowcount
            notify(tx, self._project)
            return count

        return await self._database.write(work) if await self._database.read(any_late) else 0


class _Late:
    """What is put off for too long at the time `now`: at all, where the clock was `put_back`."""

    def __init__(self, project: str, now: datetime, *, put_back: bool) -> None:
        self._project = project
        self._now = now
        self._put_back = put_back

    def _after(self, longest: timedelta) -> datetime:
        return self._now if self._put_back else self._now + longest

    def rows(self) -> list[tuple[sa.Table, list[Any], str]]:
        """Return conditions on each table but the accounts, and the column that puts a row off."""
        run = [runs.c.status.not_in(FINAL), runs.c.due_at > self._after(LONGEST_DELAY)]
        # The window in which its answer is looked for begins anew, since it cannot have been sent later.
        sent = [runs.c.status.in_(UNSURE), runs.c.sent_at > self._now + timedelta(seconds=NOTICED)]
        # One that was never tried is due from the start, unless its state must last first.
        untried = sa.and_(deliveries.c.attempts == 0, deliveries.c.last_error.is_(None))
        too_late = sa.or_(
            sa.and_(untried, deliveries.c.due_at > self._now),
            deliveries.c.due_at > self._after(LONGEST_WAIT),
        )
        delivery = [deliveries.c.state == PENDING, sa.not_(deliveries.c.lasting), too_late]
        origin = [origins.c.open_until > self._after(LONGEST_REST)]
        return [
            (runs, [runs.c.project == self._project, *run], "due_at"),
            (runs, [runs.c.project == self._project, *sent], "sent_at"),
            (deliveries, [deliveries.c.project == self._project, *delivery], "due_at"),
            (origins, [origins.c.project == self._project, *origin], "open_until"),
        ]

    def accounts(self, tx: Tx) -> list[str]:
        """Name the accounts that are left alone for too long."""
        later = [accounts.c.project == self._project, accounts.c.next_poll_at > self._now]
        found = tx.execute(sa.select(accounts).where(*later).order_by(accounts.c.name))
        return [row.name for row in found if row.next_poll_at > self._after(self._longest(row))]

    def _longest(self, account: sa.Row[Any]) -> timedelta:
        """Return the longest that an account which stands so is left alone."""
        blocked = account.blocked_until is not None and account.blocked_until > self._now
        if account.paused is not None or blocked:
            return LONGEST_ASKED
        if account.failures:
            return LONGEST_BACKOFF
        return LONGEST_ASKED if account.poll_seconds is None else timedelta(seconds=account.poll_seconds)
