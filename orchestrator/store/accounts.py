"""The accounts: who polls each, when it was last seen whole, and whether its credentials are refused."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from orchestrator.core.event import Event, EventType
from orchestrator.core.run import OPEN, Reason, Status
from orchestrator.errors import LeaseLost
from orchestrator.store.claim import LEASE, Claim, awake
from orchestrator.store.commit import Routing, lock, notify, tell
from orchestrator.store.database import Database, Tx
from orchestrator.store.lease import Leases
from orchestrator.store.tables import OPEN_THERE, UTCDateTime, accounts, runs

NOW = sa.bindparam("now", type_=UTCDateTime)


@dataclass(frozen=True, kw_only=True, slots=True)
class Account:
    """One provider account as the loops left it."""

    name: str
    kind: str
    paused: str | None = None
    """Why its credentials do not serve, None while they do."""
    last_error: str | None = None
    failures: int = 0
    confirmed_at: datetime | None = None
    """When a complete look at it was last begun."""
    next_poll_at: datetime | None = None
    interval: timedelta | None = None
    """The longest gap to the next look, as it was last worked out; None before the first."""
    owner: str | None = None
    epoch: int = 0
    lease_until: datetime | None = None
    """Until then its owner alone polls it."""
    blocked_until: datetime | None = None
    """Until then the provider itself wants to be left alone, which not even a person shortens."""
    open: int = 0
    """Runs that the provider may be working on."""
    open_since: datetime | None = None
    """When the oldest of those that it has was submitted."""

    @property
    def known_at(self) -> datetime | None:
        """From when on what is known of its open runs ages; an account without any is not looked at."""
        known = [moment for moment in (self.confirmed_at, self.open_since) if moment is not None]
        return max(known, default=None) if self.open else self.confirmed_at


class Accounts:
    """The accounts of one project."""

    def __init__(self, database: Database, project: str, leases: Leases) -> None:
        self._database = database
        self._project = project
        self._leases = leases

    async def declare(self, kinds: Mapping[str, str]) -> None:
        """Make a row for each account that has none, and set its kind; `kinds` maps account to that."""

        def known(tx: Tx) -> set[tuple[str, str]]:
            named = sa.select(accounts.c.name, accounts.c.kind)
            found = tx.execute(named.where(accounts.c.project == self._project))
            return {(row.name, row.kind) for row in found}

        def work(tx: Tx) -> None:
            rows = [
                {"project": self._project, "name": name, "kind": kind, "failures": 0, "epoch": 0}
                for name, kind in sorted(kinds.items())
            ]
            insert = tx.insert(accounts)
            changed = {"kind": insert.excluded.kind}
            key = [accounts.c.project, accounts.c.name]
            tx.execute(insert.on_conflict_do_update(index_elements=key, set_=changed), rows)

        if not set(kinds.items()) <= await self._database.read(known):
            await self._database.write(work)

    async def reconsider(self, *failing: str) -> None:
        """Let paused accounts be tried at once: the credential may have been mended since.

        Those of `failing` too, where a person waits for them; not before the provider's own time is over.
        """
        first = _later(accounts.c.blocked_until, NOW)
        failed = sa.and_(accounts.c.failures > 0, accounts.c.name.in_(failing))
        resting = (
            accounts.c.project == self._project,
            sa.or_(accounts.c.paused.is_not(None), failed),
            accounts.c.next_poll_at > first,
        )

        def any_rests(tx: Tx) -> bool:
            found = tx.execute(sa.select(accounts.c.name).where(*resting), {"now": tx.now})
            return found.first() is not None

        def work(tx: Tx) -> None:
            tx.execute(sa.update(accounts).where(*resting).values(next_poll_at=first), {"now": tx.now})

        if await self._database.read(any_rests):
            await self._database.write(work)

    async def all(self) -> Sequence[Account]:
        """Return every account with the number of its open runs."""

        def work(tx: Tx) -> Sequence[Account]:
            theirs = sa.and_(runs.c.project == accounts.c.project, runs.c.account == accounts.c.name)
            counted = sa.select(sa.func.count()).where(theirs, runs.c.status.in_(OPEN))
            oldest = sa.select(sa.func.min(runs.c.submitted_at)).where(theirs, OPEN_THERE)
            columns = counted.label("open"), oldest.label("open_since")
            found = tx.execute(
                sa.select(accounts, *columns)
                .where(accounts.c.project == self._project)
                .order_by(accounts.c.name)
            )
            return [_account(row) for row in found]

        return await self._database.read(work)

    async def claim(self, name: str) -> Account | None:
        """Take the polling of an account that is due, or None where another does it or it is not."""

        def work(tx: Tx, taken: list[Claim]) -> Account | None:
            free = sa.or_(self._leases.free(accounts, tx), accounts.c.owner == self._leases.owner)
            due = sa.or_(accounts.c.next_poll_at.is_(None), accounts.c.next_poll_at <= tx.now)
            chosen = sa.select(accounts.c.name).where(self._named(name), free, due).with_for_update()
            if (tx.execute(chosen)).first() is None:
                return None
            (row,) = self._leases.take(tx, accounts, [name], taken)
            return _account(row)

        self._leases.drop_row(accounts, name)
        return await self._leases.claim(work, quiet=True)

    async def settle(
        self,
        account: Account,
        *,
        next_poll_at: datetime,
        confirmed_at: datetime | None = None,
        error: str | None = None,
        interval: timedelta | None = None,
        keep: bool = False,
    ) -> Account:
        """Write the outcome of a poll of the whole account; raises `LeaseLost` where it was taken over.

        What another daemon has met there meanwhile stays. With `keep` it stays claimed for the next poll.
        """
        values = _merged(account, next_poll_at, error)
        if confirmed_at is not None:
            values["confirmed_at"] = confirmed_at
        if interval is not None:
            values["poll_seconds"] = interval.total_seconds()
        values["owner"] = self._leases.owner if keep else None

        def work(tx: Tx) -> sa.Row[Any]:
            settled = tx.execute(
                sa.update(accounts)
                .where(self._named(account.name), accounts.c.epoch == account.epoch)
                .values(**values, lease_until=tx.now + LEASE if keep else None)
                .returning(accounts.c.next_poll_at, accounts.c.lease_until, accounts.c.failures)
            )
            row = settled.first()
            if row is None:
                raise LeaseLost(f"another daemon is polling {account.name}")
            return row

        claim, begun = claim_on(account), awake()
        try:
            # Nobody but its own loop acts on it, and that one knows.
            row = await self._database.write(work, quiet=True)
        except LeaseLost:
            self._leases.owe(claim)
            raise
        if keep:
            self._leases.renewed(claim, begun)
        else:
            self._leases.drop(claim)
        return replace(account, **row._mapping)

    async def fail(self, name: str, error: str, *, until: datetime, asked: datetime | None = None) -> None:
        """Count a failure of the whole account, which is left alone until then, or as long as it is already.

        Until `asked` the provider itself wants to be left alone, so that not even a person shortens it.
        """
        values: dict[str, Any] = {"last_error": error, **self._failed(until)}
        if asked is not None:
            values["blocked_until"] = _later(accounts.c.blocked_until, sa.literal(asked, UTCDateTime))
        failed = sa.update(accounts).where(self._named(name)).values(**values)
        self._leases.drop_row(accounts, name)
        await self._database.write(lambda tx: tx.execute(failed).close())

    def _failed(self, until: datetime) -> dict[str, sa.ColumnElement[Any]]:
        """Count a failure, and give up the polling where this process has it."""
        then = sa.literal(until, UTCDateTime)
        ours = accounts.c.owner == self._leases.owner
        resting = _later(accounts.c.next_poll_at, then)
        return {
            "failures": accounts.c.failures + 1,
            "next_poll_at": sa.case((accounts.c.failures > 0, resting), else_=then),
            "owner": sa.case((ours, sa.null()), else_=accounts.c.owner),
            "lease_until": sa.case((ours, sa.null()), else_=accounts.c.lease_until),
        }

    async def recover(self, name: str, failures: int) -> None:
        """Forget the failures of an account that answers again, unless there were more than these since."""
        well = (
            sa.update(accounts)
            .where(self._named(name), accounts.c.failures > 0, accounts.c.failures <= failures)
            .values(last_error=None, failures=0)
        )
        await self._database.write(lambda tx: tx.execute(well).close())

    async def pause(self, name: str, why: str, routing: Routing, *, until: datetime) -> bool:
        """Stop sending for an account whose credentials are refused; True where it was not paused yet."""

        def work(tx: Tx) -> bool:
            row = tx.execute(sa.select(accounts).where(self._named(name)).with_for_update()).one()
            refused = {"paused": why, "last_error": why, **self._failed(until)}
            tx.execute(sa.update(accounts).where(self._named(name)).values(refused))
            pending = self._pending(name)
            lock(tx, pending)
            tx.execute(sa.update(runs).where(pending).values(reason=Reason.CREDENTIALS, message=why))
            if row.paused is not None:
                return False
            tell(tx, self._project, [(self._event(EventType.PAUSED, name, tx.now, why), None)], routing)
            return True

        self._leases.drop_row(accounts, name)
        return await self._database.write(work)

    async def resume(self, name: str, routing: Routing) -> None:
        """Go on with an account that answers again."""

        def work(tx: Tx) -> None:
            changed = tx.execute(
                sa.update(accounts)
                .where(self._named(name), accounts.c.paused.is_not(None))
                .values(paused=None, last_error=None, failures=0)
            )
            if changed.rowcount != 1:
                return
            refused = sa.and_(self._pending(name), runs.c.reason == Reason.CREDENTIALS)
            lock(tx, refused)
            tx.execute(sa.update(runs).where(refused).values(reason=None, message=None, due_at=tx.now))
            tell(tx, self._project, [(self._event(EventType.RESUMED, name, tx.now, None), None)], routing)
            notify(tx, self._project)

        await self._database.write(work)

    def _event(self, kind: EventType, name: str, now: datetime, message: str | None) -> Event:
        return Event(type=kind, timestamp=now, project=self._project, account=name, message=message)

    def _pending(self, name: str) -> sa.ColumnElement[bool]:
        return sa.and_(
            runs.c.project == self._project, runs.c.account == name, runs.c.status == Status.PENDING
        )

    def _named(self, name: str) -> sa.ColumnElement[bool]:
        return sa.and_(accounts.c.project == self._project, accounts.c.name == name)


def _merged(account: Account, due: datetime, error: str | None) -> dict[str, Any]:
    """Set what a poll found, which was begun with `account`, beside what others have found since."""
    failed_since = accounts.c.failures > account.failures
    then = sa.literal(due, UTCDateTime)
    next_poll_at = sa.case((failed_since, _later(accounts.c.next_poll_at, then)), else_=then)
    if error is not None:
        return {"next_poll_at": next_poll_at, "last_error": error, "failures": accounts.c.failures + 1}
    return {
        "next_poll_at": next_poll_at,
        "last_error": sa.case((failed_since, accounts.c.last_error)),
        "failures": sa.case((failed_since, accounts.c.failures), else_=0),
    }


def _later(known: sa.ColumnElement[Any], other: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    """Return the later of a time that may be missing and one that is not."""
    return sa.case((known > other, known), else_=other)


def claim_on(account: Account) -> Claim:
    """Name the claim that `account` was read with."""
    return Claim("accounts", account.name, account.epoch)


def _account(row: sa.Row[Any]) -> Account:
    known = {key: value for key, value in row._mapping.items() if key in Account.__slots__}
    seconds = row.poll_seconds
    return Account(**known, interval=None if seconds is None else timedelta(seconds=seconds))
