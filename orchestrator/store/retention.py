"""Forgetting what is long over, a batch at a time; what was bought is never forgotten."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa

from orchestrator.core.delivery import DeliveryState
from orchestrator.core.run import FINAL
from orchestrator.store.database import Database, Tx
from orchestrator.store.rows import PENDING
from orchestrator.store.tables import STANDING, deliveries, events, jobs, runs

KEPT_DELIVERED: Final = timedelta(days=30)
KEPT_DEAD: Final = timedelta(days=180)
"""How long settled deliveries are kept, where `keep` is not shorter."""
BATCH: Final = 500
"""Rows in one transaction, so that nobody waits for it."""

Old = Callable[[datetime, timedelta], sa.Select[Any]]
Forget = Callable[[Sequence[Any]], sa.Executable]


class Retention:
    """What of one project's past may be forgotten.

    Of a run that another one has superseded go its spec, what was sent and its message. The row stays: the
    fingerprint, marker and result say what was bought, so that nothing is bought again. The run that a job
    stands by stays whole.
    """

    def __init__(self, database: Database, project: str) -> None:
        self._database = database
        self._project = project

    async def prune(self, keep: timedelta, most: int = BATCH) -> int:
        """Forget one batch of what is older than `keep`; 0 once nothing is left to forget."""
        for old, forget in (
            (self._old_deliveries, _delete_deliveries),
            (self._old_events, _delete_events),
            (self._old_runs, _strip),
        ):
            if count := await self._batch(old, forget, keep, most):
                return count
        return 0

    async def _batch(self, old: Old, forget: Forget, keep: timedelta, most: int) -> int:
        def read(tx: Tx) -> Sequence[Any]:
            return tx.execute(old(tx.now, keep).limit(most)).scalars().all()

        def write(tx: Tx) -> int:
            return int(tx.execute(forget(read(tx))).rowcount)

        return await self._database.write(write, quiet=True) if await self._database.read(read) else 0

    def _old_deliveries(self, now: datetime, keep: timedelta) -> sa.Select[Any]:
        done = deliveries.c.state.in_((DeliveryState.DELIVERED, DeliveryState.DROPPED))
        dead = deliveries.c.state == DeliveryState.DEAD
        return sa.select(deliveries.c.id).where(
            deliveries.c.project == self._project,
            sa.or_(
                sa.and_(done, deliveries.c.settled_at < now - min(keep, KEPT_DELIVERED)),
                sa.and_(dead, deliveries.c.settled_at < now - min(keep, KEPT_DEAD)),
            ),
        )

    def _old_events(self, now: datetime, keep: timedelta) -> sa.Select[Any]:
        told = sa.exists().where(deliveries.c.event_id == events.c.id)
        over = sa.or_(events.c.run_id.is_(None), sa.and_(runs.c.status.in_(FINAL), self._superseded()))
        return (
            sa.select(events.c.id)
            .select_from(events.outerjoin(runs, runs.c.id == events.c.run_id))
            .where(events.c.project == self._project, events.c.timestamp < now - keep, sa.not_(told), over)
            .order_by(events.c.id)
        )

    def _old_runs(self, now: datetime, keep: timedelta) -> sa.Select[Any]:
        return sa.select(runs.c.id).where(
            runs.c.project == self._project,
            runs.c.status.in_(FINAL),
            runs.c.updated_at < now - keep,
            sa.cast(runs.c.spec, sa.Text) != "{}",
            self._superseded(),
        )

    def _superseded(self) -> sa.ColumnElement[bool]:
        return runs.c.id.not_in(sa.select(_STANDING.c.id).where(_STANDING.c.project == self._project))


_STANDING: Final = sa.select(jobs.c.project, runs.c.id).select_from(STANDING).subquery("standing")


def _delete_deliveries(ids: Sequence[str]) -> sa.Delete:
    # One that is sent again in this very moment is kept.
    return sa.delete(deliveries).where(deliveries.c.id.in_(ids), deliveries.c.state != PENDING)


def _delete_events(ids: Sequence[int]) -> sa.Delete:
    return sa.delete(events).where(events.c.id.in_(ids))


def _strip(ids: Sequence[str]) -> sa.Update:
    gone: dict[str, Any] = {"spec": {}, "inputs": {}, "steps": {}, "request": sa.null(), "message": None}
    return sa.update(runs).where(runs.c.id.in_(ids)).values(gone)
