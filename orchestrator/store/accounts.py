"""The accounts: who polls each, when it was last seen whole, and whether its credentials are refused."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from orchestrator.core.event import Event, EventType
from orchestrator.core.run import OPEN, Reason, Status
from orchestrator.errors import LeaseLost
from orchestrator.store.commit import Routing, lock, notify, tell
from orchestrator.store.database import Database, Tx
from orchestrator.store.tables import accounts, runs


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
    open: int = 0
    """Runs that the provider may be working on."""


class Accounts:
    """The accounts of one project."""

    def __init__(self, database: Database, project: str, owner: str) -> None:
        self._database = database
        self._project = project
        self._owner = owner

    async def declare(self, kinds: Mapping[str, str]) -> None:
        """Make a row for each account that has none; `kinds` maps account to provider kind."""

        async def known(tx: Tx) -> set[str]:
            found = await tx.execute(sa.select(accounts.c.name).where(accounts.c.project == self._project))
            return {row.name for row in found}

        async def work(tx: Tx) -> None:
            insert = postgresql.insert if tx.connection.dialect.name == "postgresql" else sqlite.insert
            rows = [
                {"project": self._project, "name": name, "kind": kind, "failures": 0, "epoch": 0}
                for name, kind in sorted(kinds.items())
            ]
            await tx.execute(insert(accounts).on_conflict_do_nothing(), rows)

        if kinds and not set(kinds) <= await self._database.read(known):
            await self._database.write(work)

    async def reconsider(self) -> None:
        """Let paused accounts be tried at once: the credential may have been mended since."""

        async def resting(tx: Tx) -> bool:
            return (
                await tx.execute(sa.select(accounts.c.name).where(*self._resting(tx)))
            ).first() is not None

        async def work(tx: Tx) -> None:
            await tx.execute(sa.update(accounts).where(*self._resting(tx)).values(next_poll_at=tx.now))

        if await self._database.read(resting):
            await self._database.write(work)

    def _resting(self, tx: Tx) -> Sequence[sa.ColumnElement[bool]]:
        return (
            accounts.c.project == self._project,
            accounts.c.paused.is_not(None),
            accounts.c.next_poll_at > tx.now,
        )

    async def all(self) -> Sequence[Account]:
        """Return every account with the number of its open runs."""

        async def work(tx: Tx) -> Sequence[Account]:
            counted = (
                sa.select(sa.func.count())
                .where(
                    runs.c.project == accounts.c.project,
                    runs.c.account == accounts.c.name,
                    runs.c.status.in_(OPEN),
                )
                .scalar_subquery()
                .label("open")
            )
            found = await tx.execute(
                sa.select(accounts, counted)
                .where(accounts.c.project == self._project)
                .order_by(accounts.c.name)
            )
            return [_account(row, open_runs=row.open) for row in found]

        return await self._database.read(work)

    async def claim(self, name: str, *, lease: timedelta) -> Account | None:
        """Take the polling of an account that is due, or None where another does it or it is not."""

        async def work(tx: Tx) -> Account | None:
            free = sa.or_(
                accounts.c.lease_until.is_(None),
                accounts.c.lease_until < tx.now,
                accounts.c.owner == self._owner,
            )
            due = sa.or_(accounts.c.next_poll_at.is_(None), accounts.c.next_poll_at <= tx.now)
            claimed = await tx.execute(
                sa.update(accounts)
                .where(self._named(name), free, due)
                .values(owner=self._owner, epoch=accounts.c.epoch + 1, lease_until=tx.now + lease)
                .returning(accounts)
            )
            row = claimed.one_or_none()
            return None if row is None else _account(row)

        return await self._database.write(work, quiet=True)

    async def settle(
        self,
        account: Account,
        *,
        next_poll_at: datetime,
        confirmed_at: datetime | None = None,
        error: str | None = None,
        interval: timedelta | None = None,
        keep: timedelta | None = None,
    ) -> Account:
        """Write the outcome of a look at the whole account; raises `LeaseLost` where it was taken over.

        With `keep` the polling stays claimed until so long after the next look, which needs no claim then.
        """
        until = None if keep is None else next_poll_at + keep
        values: dict[str, Any] = {
            "next_poll_at": next_poll_at,
            "last_error": error,
            "failures": 0 if error is None else account.failures + 1,
            "owner": None if keep is None else self._owner,
            "lease_until": until,
        }
        if confirmed_at is not None:
            values["confirmed_at"] = confirmed_at
        if interval is not None:
            values["poll_seconds"] = interval.total_seconds()
        await self._hold(account, values)
        return replace(account, next_poll_at=next_poll_at, lease_until=until, failures=values["failures"])

    async def renew(self, account: Account, *, until: datetime) -> Account:
        """Keep the polling claimed for longer; raises `LeaseLost` where it was taken over."""
        await self._hold(account, {"owner": self._owner, "lease_until": until})
        return replace(account, lease_until=until)

    async def _hold(self, account: Account, values: Mapping[str, Any]) -> None:
        async def work(tx: Tx) -> None:
            result = await tx.execute(
                sa.update(accounts)
                .where(self._named(account.name), accounts.c.epoch == account.epoch)
                .values(values)
            )
            if result.rowcount != 1:
                raise LeaseLost(f"another daemon polls {account.name}")

        # Nobody but its own loop acts on it, and that one knows.
        await self._database.write(work, quiet=True)

    async def let_go(self) -> None:
        """Give back the polling of all that this process holds, so that another daemon goes on at once."""

        async def work(tx: Tx) -> None:
            await tx.execute(
                sa.update(accounts)
                .where(accounts.c.project == self._project, accounts.c.owner == self._owner)
                .values(owner=None, lease_until=None)
            )

        await self._database.write(work, quiet=True)

    async def fail(self, name: str, error: str, *, until: datetime) -> None:
        """Count a failure of the whole account, which is left alone until then."""

        async def work(tx: Tx) -> None:
            await tx.execute(
                sa.update(accounts)
                .where(self._named(name))
                .values(
                    last_error=error,
                    failures=accounts.c.failures + 1,
                    next_poll_at=until,
                    owner=None,
                    lease_until=None,
                )
            )

        await self._database.write(work)

    async def recover(self, name: str) -> None:
        """Forget the failures of an account that answers again."""

        async def work(tx: Tx) -> None:
            await tx.execute(
                sa.update(accounts)
                .where(self._named(name), accounts.c.failures > 0)
                .values(last_error=None, failures=0)
            )

        await self._database.write(work)

    async def pause(self, name: str, why: str, routing: Routing, *, until: datetime) -> bool:
        """Stop sending for an account whose credentials are refused; True where it was not paused yet."""

        async def work(tx: Tx) -> bool:
            row = (await tx.execute(sa.select(accounts).where(self._named(name)).with_for_update())).one()
            await tx.execute(
                sa.update(accounts)
                .where(self._named(name))
                .values(
                    paused=why,
                    next_poll_at=until,
                    last_error=why,
                    failures=row.failures + 1,
                    owner=None,
                    lease_until=None,
                )
            )
            pending = self._pending(name)
            await lock(tx, pending)
            await tx.execute(sa.update(runs).where(pending).values(reason=Reason.CREDENTIALS, message=why))
            if row.paused is not None:
                return False
            await tell(tx, self._project, [(self._event(EventType.PAUSED, name, tx.now, why), None)], routing)
            return True

        return await self._database.write(work)

    async def resume(self, name: str, routing: Routing) -> None:
        """Go on with an account that answers again."""

        async def work(tx: Tx) -> None:
            changed = await tx.execute(
                sa.update(accounts)
                .where(self._named(name), accounts.c.paused.is_not(None))
                .values(paused=None, last_error=None, failures=0)
            )
            if changed.rowcount != 1:
                return
            refused = sa.and_(self._pending(name), runs.c.reason == Reason.CREDENTIALS)
            await lock(tx, refused)
            await tx.execute(sa.update(runs).where(refused).values(reason=None, message=None, due_at=tx.now))
            await tell(
                tx, self._project, [(self._event(EventType.RESUMED, name, tx.now, None), None)], routing
            )
            await notify(tx, self._project)

        await self._database.write(work)

    def _event(self, kind: EventType, name: str, now: datetime, message: str | None) -> Event:
        return Event(type=kind, timestamp=now, project=self._project, account=name, message=message)

    def _pending(self, name: str) -> sa.ColumnElement[bool]:
        return sa.and_(
            runs.c.project == self._project, runs.c.account == name, runs.c.status == Status.PENDING
        )

    def _named(self, name: str) -> sa.ColumnElement[bool]:
        return sa.and_(accounts.c.project == self._project, accounts.c.name == name)


def _account(row: sa.Row[Any], *, open_runs: int = 0) -> Account:
    return Account(
        name=row.name,
        kind=row.kind,
        paused=row.paused,
        last_error=row.last_error,
        failures=row.failures,
        confirmed_at=row.confirmed_at,
        next_poll_at=row.next_poll_at,
        interval=None if row.poll_seconds is None else timedelta(seconds=row.poll_seconds),
        owner=row.owner,
        epoch=row.epoch,
        lease_until=row.lease_until,
        open=open_runs,
    )
