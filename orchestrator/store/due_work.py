"""What an account has to do, in one read: so that a quiet round writes nothing and asks nobody."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from orchestrator.core.admission import AccountLimits, rest_of
from orchestrator.core.run import FINAL, OPEN, Reason, Status
from orchestrator.store.database import Database, Tx
from orchestrator.store.tables import OPEN_THERE, WANTED, UTCDateTime, accounts, runs
from orchestrator.store.work import to_call

ACCOUNT = sa.bindparam("account", type_=sa.Text)
STANDING = (
    accounts.c.paused,
    accounts.c.failures,
    accounts.c.next_poll_at,
    accounts.c.owner,
    accounts.c.lease_until,
    accounts.c.blocked_until,
)
ALWAYS = sa.literal(datetime(1970, 1, 1, tzinfo=UTC), UTCDateTime)
"""Since when a row is due that waits for nothing."""
DUE = sa.case(
    # A row that is claimed is not due before its lease ends.
    (
        sa.and_(runs.c.lease_until.is_not(None), runs.c.lease_until > runs.c.due_at),
        runs.c.lease_until,
    ),
    # Not by a time that was once noted: the clock may have been put back since.
    (runs.c.due_at.is_(None), sa.func.coalesce(runs.c.lease_until, ALWAYS)),
    else_=runs.c.due_at,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class DueWork:
    """When each kind of work is due, None where there is none."""

    now: datetime
    sends: datetime | None = None
    looks: datetime | None = None
    calls: datetime | None = None
    poll: datetime | None = None
    paused: bool = False
    failures: int = 0
    rests_until: datetime | None = None
    """Until then it is left alone: it failed, is paused, or the provider asked for it."""

    @property
    def next(self) -> datetime | None:
        """When there is something to do next."""
        times = [moment for moment in (self.sends, self.looks, self.calls, self.poll) if moment]
        if self.rests_until is not None:
            return max(self.rests_until, min(times)) if times else None
        return min(times, default=None)

    @property
    def wait(self) -> timedelta | None:
        """How long it is until then, by the database's clock alone; None where nothing is to be done."""
        return None if self.next is None else max(self.next - self.now, timedelta(0))

    def settled(self, poll: datetime) -> "DueWork":
        """Return it after a complete look, with the next one due at `poll`."""
        return replace(self, poll=poll, failures=0, rests_until=None)

    def is_due(self, moment: datetime | None) -> bool:
        """Say whether something that is due at `moment` may be done now."""
        resting = self.rests_until is not None and self.rests_until > self.now
        return moment is not None and moment <= self.now and not resting


class DueWorks:
    """Reads what is due for one account at a time."""

    def __init__(self, database: Database, project: str, owner: str) -> None:
        self._database = database
        self._project = project
        self._owner = owner
        self._statements: dict[bool, sa.Select[Any]] = {}

    async def read(self, account: str, *, max_running: int | None = None) -> DueWork:
        """Return what is due for `account`; sends wait while it has `max_running` open."""

        def work(tx: Tx) -> DueWork:
            bounded = max_running is not None
            if bounded not in self._statements:
                # Built once: with this many parts that costs more than running it.
                self._statements[bounded] = self._statement(bounded=bounded)
            statement = self._statements[bounded]
            row = (tx.execute(statement, {"account": account})).one()
            full = max_running is not None and AccountLimits(open=row.open, max_running=max_running).full
            poll = row.next_poll_at or tx.now
            if row.owner != self._owner and row.lease_until is not None:
                poll = max(poll, row.lease_until)  # another daemon polls it, and keeps its claim
            return DueWork(
                now=tx.now,
                # At max_running, wake only to mark newly blocked runs.
                sends=row.untold if full else row.sends,
                looks=row.looks,
                calls=row.calls,
                poll=poll if row.bound else None,
                paused=row.paused is not None,
                failures=row.failures or 0,
                rests_until=rest_of(
                    paused=row.paused,
                    failures=row.failures,
                    next_poll_at=row.next_poll_at,
                    blocked_until=row.blocked_until,
                ),
            )

        return await self._database.read(work)

    def _statement(self, *, bounded: bool) -> sa.Select[Any]:
        """Ask each question by itself, so that none walks the runs that only wait for the provider."""
        named = sa.and_(accounts.c.project == self._project, accounts.c.name == ACCOUNT)
        mine = sa.and_(runs.c.project == self._project, runs.c.account == ACCOUNT)
        first = runs.alias("first")
        blocked = sa.exists().where(first.c.id == runs.c.after, first.c.status.not_in(FINAL))
        doubtful = sa.and_(
            runs.c.status == Status.IN_DOUBT, runs.c.reason.in_((Reason.LOOKING, Reason.PARKED))
        )
        # The status alone goes to the index; what else is asked only tells the few apart.
        lost = sa.and_(
            runs.c.status.in_((Status.SUBMITTING, Status.IN_DOUBT)),
            sa.or_(runs.c.status == Status.SUBMITTING, doubtful),
        )

        def earliest(name: str, *where: Any) -> sa.Label[Any]:
            return sa.select(sa.func.min(DUE)).where(mine, *where).scalar_subquery().label(name)

        there = sa.exists().where(mine, OPEN_THERE, runs.c.submitted_at.is_not(None))
        columns = [sa.select(column).where(named).scalar_subquery().label(column.name) for column in STANDING]
        columns += [
            earliest("sends", runs.c.status == Status.PENDING, sa.not_(blocked)),
            earliest("looks", lost),
            earliest("calls", WANTED, to_call()),
            there.label("bound"),
        ]
        if bounded:
            taken = sa.select(sa.func.count()).where(mine, runs.c.status.in_(OPEN))
            columns.append(taken.scalar_subquery().label("open"))
            columns.append(
                earliest("untold", runs.c.status == Status.PENDING, runs.c.reason.is_(None), sa.not_(blocked))
            )
        return sa.select(*columns)
