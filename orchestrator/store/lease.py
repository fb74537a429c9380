"""Leases: rows claimed for a short while, renewed while a task works on them, free once their owner is gone.

A claim is owner, epoch and end of the lease, on a run, an account's polling or a delivery. Whoever claims
raises the epoch, and every write of a holder asks for it, so that a claim that was taken over writes nothing.
"""

from collections.abc import AsyncIterator, Callable, Collection, Iterable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, TypeVar

import anyio
import sqlalchemy as sa
import structlog

from orchestrator.errors import StoreError
from orchestrator.store.claim import BEAT, KEYS, LEASE, SURE, Claim, awake, by_table, lock_rows
from orchestrator.store.commit import notify
from orchestrator.store.database import Database, Tx
from orchestrator.store.expiry import Overlong, dead, end_of

T = TypeVar("T")

log: structlog.stdlib.BoundLogger = structlog.get_logger("orchestrator.store")


class Leases:
    """The claims of this process in one project.

    What a task works on is held, and renewed by a beat. What no task works on any more is owed: it is given
    back at once or, where the database does not answer, by the first beat that reaches it.
    """

    def __init__(self, database: Database, project: str, owner: str) -> None:
        self._database = database
        self._project = project
        self.owner = owner
        self._held: dict[Claim, float] = {}
        """When each was last known to be ours, by `awake`."""
        self._owed: set[Claim] = set()
        self._overlong = Overlong()
        self.beating = False
        """Whether a daemon's own beat renews what is held."""

    async def claim(
        self, work: Callable[[Tx, list[Claim]], T], *, quiet: bool = False, yields: bool = False
    ) -> T:
        """Run a transaction that adds to a list what it `take`s, which is held from then on."""
        taken: list[Claim] = []
        begun = awake()
        try:
            made = await self._database.write(lambda tx: work(tx, taken), quiet=quiet, yields=yields)
        except BaseException:
            self._owed.update(taken)  # it may have been committed
            raise
        self._held.update(dict.fromkeys(taken, begun))
        return made

    def take(self, tx: Tx, table: sa.Table, keys: Sequence[str], taken: list[Claim]) -> Sequence[sa.Row[Any]]:
        """Claim these rows, which the transaction has locked, and return them as they are then."""
        key = KEYS[table.name]
        claimed = tx.execute(
            sa.update(table)
            .where(table.c.project == self._project, key.in_(keys))
            .values(owner=self.owner, epoch=table.c.epoch + 1, lease_until=tx.now + LEASE)
            .returning(table)
        )
        order = {name: place for place, name in enumerate(keys)}
        rows = sorted(claimed, key=lambda row: order[row._mapping[key.name]])
        taken += [Claim(table.name, row._mapping[key.name], row.epoch) for row in rows]
        return rows

    def free(self, table: sa.Table, tx: Tx) -> sa.ColumnElement[bool]:
        """Say in SQL that nobody has claimed a row; what a task of ours holds never is free."""
        mine = [claim.key for claim in self._held if claim.table == table.name]
        ended = sa.or_(table.c.lease_until.is_(None), table.c.lease_until < tx.now)
        return sa.and_(ended, KEYS[table.name].not_in(mine)) if mine else ended

    def holds(self, claim: Claim) -> bool:
        """Say whether the claim is held, as far as is known here."""
        return claim in self._held

    def sure(self, claim: Claim) -> bool:
        """Say whether nobody can have taken it over by now, nor will while a request is under way."""
        known = self._held.get(claim)
        return known is not None and awake() < known + SURE.total_seconds()

    def renewed(self, claim: Claim, begun: float) -> None:
        """Count a commit, begun at that time by `awake`, that renewed what is held."""
        if claim in self._held:
            self._held[claim] = max(begun, self._held[claim])

    def drop(self, *claims: Claim) -> None:
        """Forget what a commit gave back."""
        for claim in claims:
            self._held.pop(claim, None)

    def owe(self, claim: Claim) -> None:
        """Work no more on what another process may have; where it has not, the next beat gives it back."""
        if claim in self._held:
            self.drop(claim)
            self._owed.add(claim)

    def drop_row(self, table: sa.Table, key: str) -> None:
        """Forget whatever is held of one row."""
        self.drop(*[claim for claim in self._held if claim[:2] == (table.name, key)])

    async def release(self, claims: Iterable[Claim]) -> None:
        """Give back what is still held of these; where the database does not answer, a later beat does it."""
        mine = [claim for claim in claims if claim in self._held]
        self.drop(*mine)
        self._owed.update(mine)
        if not mine:
            return
        try:
            await self._database.write(lambda tx: self._give_back(tx, mine))
        except StoreError as error:
            log.warning("claims.owed", claims=len(mine), error=error.message)
        else:
            self._owed.difference_update(mine)

    async def let_go(self) -> None:
        """Give back everything, so that another process goes on at once; for the end of this one."""
        self._owed.update(self._held)
        self._held.clear()
        await self.keep()

    async def keep(self) -> None:
        """Beat where there is something to renew or to give back."""
        if self._held or self._owed:
            await self.beat()

    async def beat(self, sign: Callable[[Tx], Collection[str]] | None = None) -> datetime:
        """Renew what is held, give back what is owed, end the claims of the dead, and return when that was.

        `sign` writes first, in the same transaction, and names owners that are known to be dead.
        """
        held, owed, begun = tuple(self._held), tuple(self._owed), awake()

        def work(tx: Tx) -> tuple[datetime, set[Claim], int]:
            gone = sign(tx) if sign is not None else ()
            kept = self._renew(tx, held)
            ended = end_of(tx, self._project, gone)
            ended += self._overlong.end(tx, self._project) if sign is not None else 0
            if owed:
                self._give_back(tx, owed)
            elif ended:
                notify(tx, self._project)
            return tx.now, kept, ended

        now, kept, ended = await self._database.write(work, quiet=True)
        for claim in held:
            if claim in kept:
                self.renewed(claim, begun)
            elif claim in self._held:
                self.drop(claim)
                log.info("claim.taken_over", table=claim.table, key=claim.key)
        self._owed.difference_update(owed)
        for listener in self._database.listeners if owed or ended else ():
            listener()
        return now

    @asynccontextmanager
    async def kept(self) -> AsyncIterator[None]:
        """Beat for as long as this lasts, unless a daemon does."""
        if self.beating:
            yield
            return
        error: BaseException | None = None
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._beats)
            try:
                yield
            except anyio.get_cancelled_exc_class():
                raise
            except BaseException as raised:  # noqa: BLE001 - raised below as it is, outside of any group
                error = raised
            tasks.cancel_scope.cancel()
        if error is not None:
            raise error

    async def _beats(self) -> None:
        while True:
            await anyio.sleep(BEAT.total_seconds())
            try:
                await self.keep()
            except StoreError as error:
                log.error("store.failed", loop="beat", error=error.message, hint=error.hint)

    async def end(self, alive: Callable[[str], bool]) -> None:
        """End the claims of owners that are known to be dead."""

        def work(tx: Tx) -> None:
            if end_of(tx, self._project, dead(tx, self._project, alive)):
                notify(tx, self._project)

        await self._database.write(work)

    def doubt_ends(self) -> None:
        """Look again for leases that end too late: the clock was put back."""
        self._overlong.look_again()

    def _renew(self, tx: Tx, held: Sequence[Claim]) -> set[Claim]:
        kept: set[Claim] = set()
        for table, key, claims in by_table(held):
            keys = key.in_([claim.key for claim in claims])
            mine = [table.c.project == self._project, table.c.owner == self.owner, keys]
            lock_rows(tx, key, mine)
            longer = sa.update(table).where(*mine).values(lease_until=tx.now + LEASE)
            found = tx.execute(longer.returning(key, table.c.epoch))
            kept |= {Claim(table.name, row[0], row.epoch) for row in found}
        return kept

    def _give_back(self, tx: Tx, owed: Sequence[Claim]) -> None:
        for table, key, claims in by_table(owed):
            mine = [table.c.project == self._project, table.c.owner == self.owner]
            lock_rows(tx, key, [*mine, key.in_([claim.key for claim in claims])])
            one = [key == sa.bindparam("b_key"), table.c.epoch == sa.bindparam("b_epoch")]
            freed = sa.update(table).where(*mine, *one).values(owner=None, lease_until=None)
            tx.execute(freed, [{"b_key": claim.key, "b_epoch": claim.epoch} for claim in claims])
        notify(tx, self._project)
