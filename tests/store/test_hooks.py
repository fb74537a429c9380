"""Hooks that are switched off and healed, and origins that rest."""

from datetime import timedelta

import pytest
from core.make import a_record, a_run

from orchestrator.core.delivery import DeliveryState
from orchestrator.core.receiver import OFF_AFTER, OPENS_AT, PROBE_AFTER
from orchestrator.core.run import Status
from orchestrator.store.hooks import Declared, HookStanding
from orchestrator.store.store import Store

from .hooked import DOWN, FAILED, GONE, MINUTE, ORIGIN, TABLE, TAKEN, settle, states, take, tell, turn
from .make import Clock, heard, put

JOBS = tuple(f"job-{number}" for number in range(OPENS_AT + 2))


async def standing(store: Store, name: str = "team") -> HookStanding:
    (found,) = [one for one in await store.hooks.all() if one.health.name == name]
    return found


async def test_a_hook_that_does_well_is_never_written(store: Store) -> None:
    await tell(store, "a")
    await settle(store, TAKEN, *await take(store))
    assert await store.hooks.all() == []


async def test_410_switches_the_hook_off_and_a_new_table_sends_all(store: Store) -> None:
    await store.hooks.declare({"team": TABLE})
    await tell(store, "a", "b", times=2)
    first, second = await take(store)
    after = await settle(store, GONE, first, second)
    assert after.off is not None
    assert await states(store) == [DeliveryState.DEAD, DeliveryState.PENDING] * 2
    assert await take(store) == ()
    assert await store.outbox.wait("team", ORIGIN) is None
    assert not await store.outbox.due()
    assert (await store.outbox.unsettled(), await store.outbox.unsettled(["team"])) == (2, 0)
    assert await store.hooks.declare({"team": TABLE}) == ()
    assert await take(store) == ()
    mended = Declared(digest="two", origin=ORIGIN)
    assert await store.hooks.declare({"team": mended}) == ["team"]
    assert (await standing(store)).health.off is None
    assert [one.id for one in await take(store)] == [first.id, second.id]


async def test_five_days_of_failures_switch_it_off_and_kill_nothing(store: Store, clock: Clock) -> None:
    await store.hooks.declare({"team": TABLE})
    await tell(store, "a", times=2)
    await settle(store, FAILED, *await take(store))
    clock.forward(OFF_AFTER)
    after = await settle(store, FAILED, *await take(store))
    assert after.off == "failing for 5 days: HTTP 500"
    assert await states(store) == [DeliveryState.PENDING, DeliveryState.PENDING]
    await store.hooks.declare({"team": Declared(digest="two", origin=ORIGIN)})
    assert [(one.event_id, one.attempts) for one in await take(store)] == [(1, 0)]


async def test_what_waits_long_for_its_next_try_is_sent_at_once_by_a_mended_hook(store: Store) -> None:
    await store.hooks.declare({"team": TABLE})
    await tell(store, "a")
    await settle(store, FAILED, *await take(store))
    assert await take(store) == ()
    await store.hooks.declare({"team": Declared(digest="two", origin=ORIGIN)})
    assert len(await take(store)) == 1


async def test_a_dead_origin_rests_and_is_probed_once_a_minute(store: Store, clock: Clock) -> None:
    await store.hooks.declare({"team": TABLE})
    await tell(store, *JOBS)
    await settle(store, DOWN, *await take(store, OPENS_AT))
    assert await take(store) == ()
    assert await store.outbox.wait("team", ORIGIN) == PROBE_AFTER
    assert (await standing(store)).rests_until == clock.now + PROBE_AFTER
    clock.forward(PROBE_AFTER)
    (probe,) = await take(store)
    assert await take(store) == ()
    await settle(store, DOWN, probe)
    assert await take(store) == ()
    clock.forward(PROBE_AFTER)
    (probe,) = await take(store)
    made = await turn(store, (probe, TAKEN))
    assert len(made.claimed) == len(JOBS) - 1
    assert (await standing(store)).rests_until is None


async def test_two_hooks_of_one_origin_rest_together_and_others_go_on(store: Store, clock: Clock) -> None:
    await store.hooks.declare({"team": TABLE, "twin": TABLE, "other": Declared(digest="x", origin="y")})
    for name in JOBS:
        job = heard(name)
        run = a_run(job, status=Status.QUEUED)
        await put(store, run, records=[a_record(job)])
    await tell(store, *(f"{name}-x" for name in JOBS))
    await settle(store, DOWN, *await take(store, OPENS_AT))
    clock.forward(PROBE_AFTER)
    assert len(await take(store)) == 1
    assert (await turn(store, hook="twin")).claimed == ()
    assert not (await standing(store, "other")).rests_until


async def test_the_others_of_an_origin_are_told_when_its_rest_has_ended(store: Store, clock: Clock) -> None:
    rung: list[int] = []
    await store.hooks.declare({"team": TABLE, "twin": TABLE})
    await tell(store, *JOBS)
    store.database.listeners.append(lambda: rung.append(1))
    await settle(store, DOWN, *await take(store, OPENS_AT))
    clock.forward(PROBE_AFTER)
    (probe,) = await take(store)
    assert rung == []
    await settle(store, TAKEN, probe)
    assert rung == [1]


async def test_two_processes_probe_once(store: Store, peer: Store, clock: Clock) -> None:
    await store.hooks.declare({"team": TABLE})
    await tell(store, *JOBS)
    await settle(store, DOWN, *await take(store, OPENS_AT))
    clock.forward(PROBE_AFTER)
    assert len(await take(store)) + len(await take(peer)) == 1


async def test_a_probe_that_was_never_settled_is_tried_by_another(store: Store, clock: Clock) -> None:
    await store.hooks.declare({"team": TABLE})
    await tell(store, *JOBS)
    await settle(store, DOWN, *await take(store, OPENS_AT))
    clock.forward(PROBE_AFTER)
    assert len(await take(store)) == 1
    clock.forward(MINUTE + timedelta(microseconds=1))
    assert len(await take(store)) == 1


async def test_a_hook_that_left_the_files_is_named_while_something_waits(store: Store) -> None:
    await store.hooks.declare({"team": TABLE})
    await tell(store, "a")
    await store.hooks.declare({})
    found = await standing(store)
    assert (found.health.declared, found.waiting) == (False, 1)
    assert not await store.outbox.due()
    await store.hooks.declare({"team": TABLE})
    assert (await standing(store)).health.declared
    await settle(store, TAKEN, *await take(store))
    await store.hooks.declare({})
    assert await store.hooks.all() == []


async def test_one_that_never_had_a_table_is_named_too(store: Store) -> None:
    await tell(store, "a")
    found = await standing(store)
    assert (found.health.declared, found.waiting) == (False, 1)


@pytest.mark.parametrize("why", ["the environment variable X is not set"])
async def test_an_unfit_hook_says_so_until_it_is_fit(store: Store, why: str) -> None:
    await store.hooks.declare({"team": TABLE})
    await tell(store, "a")
    assert await store.hooks.unfit("team", why)
    assert not await store.hooks.unfit("team", why)
    assert (await standing(store)).health.unfit == why
    await settle(store, FAILED, *await take(store))
    assert await take(store) == ()
    assert await store.hooks.unfit("team", None)
    assert len(await take(store)) == 1
    assert not await store.hooks.unfit("nobody", why)


async def test_claims_of_the_dead_are_let_go_of_and_those_of_the_living_are_not(
    store: Store, peer: Store
) -> None:
    await tell(store, "a", "b")
    (mine,) = await take(store, 1)
    (theirs,) = await take(peer, 1)
    await store.leases.end(lambda owner: owner == "me")
    assert [one.id for one in await take(store)] == [theirs.id]
    made = await turn(peer, (theirs, TAKEN), most=0)
    assert made.lost == 1
    await settle(store, TAKEN, mine)
