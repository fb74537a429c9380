"""Claims of all tables: renewed by a beat, given back, taken from the dead."""

import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from core.make import NOW, a_job, a_run

from orchestrator.core.run import Reason, Status
from orchestrator.core.schedule import LONGEST_BACKOFF, LONGEST_DELAY
from orchestrator.core.transition import finish
from orchestrator.errors import LeaseLost
from orchestrator.store.claim import BEAT, LEASE
from orchestrator.store.daemons import SILENT
from orchestrator.store.database import Database, Tx
from orchestrator.store.expiry import Overlong
from orchestrator.store.owner import process_name
from orchestrator.store.store import Store
from orchestrator.store.work import claim_on

from .hooked import turn
from .make import ACCOUNT, HOUR, MINUTE, ROUTING, Clock, many, put, put_job, stored

MOMENT = timedelta(microseconds=1)


@pytest.fixture
async def dead(database_url: str, clock: Clock) -> AsyncIterator[Store]:
    """The store of a daemon of this machine that has no process any more."""
    host, _, started, _ = process_name().split("/")
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        child.wait()
    with Database(database_url, clock=clock) as opened:
        yield Store(opened, "acme", owner=f"{host}/{child.pid}/{started}/o_1")


async def claim_all(store: Store) -> None:
    """Claim a run, the polling of an account and a delivery."""
    await store.accounts.declare({ACCOUNT: ACCOUNT})
    await put(store, *many(1))
    run = await put_job(store, status=Status.RUNNING)
    await store.work.commit([finish(run, NOW, status=Status.FAILED)], ROUTING)
    assert await free(store) == 3


async def free(store: Store) -> int:
    """Claim whatever is free, and return how many tables had something."""
    found = [
        bool(await store.work.claim_sends(ACCOUNT, most=9, max_running=None)),
        await store.accounts.claim(ACCOUNT) is not None,
        bool((await turn(store)).claimed),
    ]
    return sum(found)


async def test_a_beat_renews_what_is_held_and_nothing_else(store: Store, peer: Store, clock: Clock) -> None:
    await claim_all(store)
    for _ in range(3):
        clock.forward(LEASE)
        assert await store.leases.beat() == clock.now
        assert await free(peer) == 0
    clock.forward(LEASE + MOMENT)
    assert await free(peer) == 3
    await store.leases.keep()
    clock.forward(LEASE + MOMENT)
    assert await free(store) == 3  # the beat has told it that nothing of it is held


async def test_what_ends_gives_everything_back(store: Store, peer: Store) -> None:
    await claim_all(store)
    rung: list[bool] = []
    store.database.listeners.append(lambda: rung.append(True))
    await store.leases.let_go()
    assert rung
    assert await free(peer) == 3


async def test_the_claims_of_a_dead_daemon_are_free_after_a_beat(
    store: Store, dead: Store, clock: Clock
) -> None:
    await dead.daemons.beat(host="here", pid=1, address=None)
    await claim_all(dead)
    (held,) = await dead.work.open_runs()
    await store.daemons.beat(host="here", pid=2, address=None)
    assert await free(store) == 0  # it may live where its number names no process
    clock.forward(SILENT)
    assert SILENT + BEAT <= LEASE / 2
    await store.daemons.beat(host="here", pid=2, address=None)
    assert await free(store) == 3
    with pytest.raises(LeaseLost):
        await dead.work.move(held, lambda run, now: finish(run, now, status=Status.FAILED), ROUTING)
    latest = await store.daemons.latest()
    assert latest is not None
    assert (latest.owner, latest.fresh) == ("me", True)


async def test_a_commit_never_shortens_a_claim(store: Store, clock: Clock) -> None:
    await put(store, *many(1))
    (run,) = await store.work.claim_sends(ACCOUNT, most=1, max_running=None)
    clock.forward(LEASE / 2)
    await store.leases.keep()
    await store.work.commit([finish(run, NOW, status=Status.FAILED)], ROUTING)
    assert (await stored(store, run)).lease_until == clock.now + LEASE


async def test_a_claim_is_sure_while_it_is_held(store: Store) -> None:
    await put(store, *many(1))
    (run,) = await store.work.claim_sends(ACCOUNT, most=1, max_running=None)
    assert store.leases.sure(claim_on(run))
    await store.work.release([run])
    assert not store.leases.sure(claim_on(run))
    assert not store.leases.sure(claim_on(a_run()))


async def test_a_lease_that_ends_too_late_is_over_once_nobody_has_renewed_it_for_as_long(
    store: Store, peer: Store, clock: Clock
) -> None:
    """The clock was put back: one of two processes lives, and says so with its beats."""
    await claim_all(peer)
    (held,) = await peer.work.open_runs()
    clock.forward(-HOUR)
    overlong = Overlong()

    def look(tx: Tx) -> int:
        return overlong.end(tx, "acme")

    assert await store.database.write(look) == 0
    overlong.look_again()  # what was seen before is forgotten
    assert await store.database.write(look) == 0
    assert (await stored(store, held)).owner == "peer"
    overlong._next = 0.0
    assert await store.database.write(look) == 3
    assert await store.times.mend() == 2  # the run and the delivery were due in times to come
    assert await free(store) == 3
    with pytest.raises(LeaseLost):
        await peer.work.move(held, lambda run, now: finish(run, now, status=Status.FAILED), ROUTING)


async def test_a_holder_that_lives_keeps_its_claims_when_the_clock_is_put_back(
    store: Store, peer: Store, clock: Clock
) -> None:
    await claim_all(peer)
    clock.forward(-HOUR)
    overlong = Overlong()
    assert await store.database.write(lambda tx: overlong.end(tx, "acme")) == 0
    await peer.leases.keep()
    overlong._next = 0.0
    assert await store.database.write(lambda tx: overlong.end(tx, "acme")) == 0
    assert await free(store) == 0


async def test_what_a_clock_that_was_put_back_put_off_is_due(store: Store, clock: Clock) -> None:
    await store.accounts.declare({ACCOUNT: ACCOUNT, "oxen": "oxen"})
    await put(store, *many(1, due_at=NOW + LONGEST_DELAY), a_run(a_job("running"), status=Status.RUNNING))
    await store.accounts.fail(ACCOUNT, "503", until=NOW + LONGEST_BACKOFF)
    await store.accounts.fail("oxen", "429", until=NOW + 9 * HOUR, asked=NOW + 9 * HOUR)
    assert await store.times.mend() == 0  # all of that may be, and the provider's own wish for a day
    clock.forward(-MINUTE)
    assert await store.times.mend() == 2
    due_work = await store.due_work.read(ACCOUNT)
    assert (due_work.sends, due_work.poll, due_work.rests_until) == (clock.now, clock.now, clock.now)
    await store.daemons.beat(host="here", pid=1, address=None)
    clock.forward(-MINUTE)  # which is known now: a daemon was seen in times to come
    assert await store.times.mend() == 4
    assert (await store.accounts.claim("oxen")) is not None
    assert await store.times.mend() == 0


async def test_what_was_sent_before_a_clock_was_put_back_is_looked_for_no_longer_than_otherwise(
    store: Store, clock: Clock
) -> None:
    unsure = a_run(status=Status.IN_DOUBT, reason=Reason.LOOKING, sent_at=NOW)
    known = a_run(a_job("known"), status=Status.RUNNING, sent_at=NOW)
    await put(store, unsure, known)
    clock.forward(-HOUR)
    await store.times.mend()
    assert [(await stored(store, run)).sent_at for run in (unsure, known)] == [clock.now, NOW]
    assert await store.times.mend() == 0
