"""Deliveries on PostgreSQL, where two transactions may stand in each other's way."""

from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any

import anyio
import pytest
import sqlalchemy as sa
from anyio import from_thread

from orchestrator.core.delivery import DeliveryState
from orchestrator.store.database import Tx
from orchestrator.store.hooks import Declared, lock_gate
from orchestrator.store.replay import Choice
from orchestrator.store.retention import KEPT_DELIVERED
from orchestrator.store.store import Store
from orchestrator.store.tables import deliveries

from .hooked import GONE, ORIGIN, TABLE, TAKEN, settle, states, take, tell
from .make import Clock

# SQLite has one writer at a time.
pytestmark = pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
MENDED = Declared(digest="two", origin=ORIGIN)


async def insert_place(store: Store) -> str:
    """Return up to where the log of changes is written."""
    return await one(store, "select pg_current_wal_insert_lsn()::text")


async def one(store: Store, query: str) -> str:
    def work(tx: Tx) -> str:
        return str((tx.execute(sa.text(query))).scalar_one())

    return await store.database.read(work)


async def is_waited_for(store: Store) -> None:
    """Wait until some transaction waits for a lock."""
    query = "select count(*) from pg_stat_activity where wait_event_type = 'Lock'"
    with anyio.fail_after(20):
        while await one(store, query) == "0":  # noqa: ASYNC110 - the server tells nobody
            await anyio.sleep(0.01)


async def beside(
    store: Store, first: Callable[[Tx], None], second: Callable[[], Coroutine[Any, Any, object]]
) -> None:
    """Begin `second` while `first` holds what it has locked, and let `first` go on once that waits."""
    async with anyio.create_task_group() as tasks:

        def work(tx: Tx) -> None:
            first(tx)
            from_thread.run_sync(tasks.start_soon, second)
            from_thread.run(is_waited_for, store)
            tx.execute(sa.update(deliveries).values(last_error="seen"))

        await store.database.write(work)


async def test_a_claim_outlives_a_crash_of_the_server(store: Store) -> None:
    # Else its answer would be settled for nobody, and what has arrived be sent again.
    await tell(store, *(f"job-{number}" for number in range(20)))
    for _ in range(20):
        before = await insert_place(store)
        assert len(await take(store, 1)) == 1
        assert await one(store, f"select pg_current_wal_flush_lsn() > '{before}'::pg_lsn") == "True"


@pytest.mark.parametrize("way", ["again", "declare", "drop", "hand over"])
async def test_a_change_of_a_hook_waits_for_a_settlement_and_not_it_for_the_change(
    store: Store, peer: Store, way: str
) -> None:
    await store.hooks.declare({"team": TABLE})
    await tell(store, "a", "b", times=2)
    await settle(store, GONE, *await take(store))
    changes: dict[str, Callable[[], Coroutine[Any, Any, object]]] = {
        "again": lambda: peer.replay.again(Choice(hook="team", dead=True)),
        "declare": lambda: peer.hooks.declare({"team": MENDED}),
        "drop": lambda: peer.replay.drop("team"),
        "hand over": lambda: peer.replay.hand_over("team", "heir"),
    }

    def settling(tx: Tx) -> None:
        lock_gate(tx, "acme", "team", ORIGIN)

    await beside(store, settling, changes[way])
    left = {"drop": ["dead", "dropped"] * 2, "hand over": ["dead", "pending"] * 2}
    assert await states(store) == left.get(way, ["pending"] * 4)


async def test_what_is_claimed_meanwhile_is_not_sent_again_too(store: Store, peer: Store) -> None:
    await tell(store, "a")
    found: list[object] = []

    def claiming(tx: Tx) -> None:
        values = {"owner": "me", "epoch": 1, "lease_until": tx.now + timedelta(hours=1)}
        tx.execute(sa.update(deliveries).values(values))

    async def again() -> None:
        found.extend(await peer.replay.again(Choice(hook="team")))

    await beside(store, claiming, again)
    assert found == []
    (row,) = await store.outbox.log()
    assert (row.owner, row.epoch) == ("me", 1)


async def test_what_is_sent_again_meanwhile_is_not_forgotten(store: Store, peer: Store, clock: Clock) -> None:
    await tell(store, "a")
    await settle(store, TAKEN, *await take(store))
    clock.forward(KEPT_DELIVERED + timedelta(seconds=1))

    def reviving(tx: Tx) -> None:
        tx.execute(sa.update(deliveries).values(state=DeliveryState.PENDING, due_at=tx.now))

    await beside(store, reviving, lambda: peer.retention.prune(KEPT_DELIVERED))
    assert await states(store) == [DeliveryState.PENDING]
