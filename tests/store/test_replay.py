"""Deliveries that are sent again, filled in, handed over, given up and forgotten."""

import json
from dataclasses import replace
from datetime import timedelta

from core.make import NOW, a_record, a_route, a_run

from orchestrator.core.delivery import DeliveryState
from orchestrator.core.run import Status
from orchestrator.store.commit import Routing
from orchestrator.store.replay import Choice
from orchestrator.store.store import Store

from .hooked import FAILED, GONE, MINUTE, TABLE, TAKEN, TEAM, happen, settle, states, take, tell, turn
from .make import EVERYTHING, HOUR, Clock, heard, put

DAY = timedelta(days=1)
LATE = Routing(hooks={**TEAM.hooks, "late": a_route("late", "job.running", "job.succeeded")})
JOBS = {"a": ("team", "late"), "b": ("team",)}


async def delivered(store: Store, *jobs: str, times: int = 1) -> list[str]:
    """Let `team` be told of all, and return the ids."""
    await tell(store, *jobs, times=times)
    while claimed := await take(store):
        await settle(store, TAKEN, *claimed)
    return [one.id for one in await store.outbox.log()]


async def again(store: Store) -> list[int | None]:
    """Send what waits, and return the events in the order in which they went."""
    sent = []
    while claimed := await take(store, 1):
        sent += [one.event_id for one in claimed]
        await settle(store, TAKEN, *claimed)
    return sent


async def test_one_is_sent_again_under_its_id(store: Store) -> None:
    first, second = await delivered(store, "a", times=2)
    assert await store.replay.again(Choice(id=second)) == [(second, "team")]
    (one,) = await take(store)
    assert (one.id, one.attempts, one.event_id) == (second, 0, 2)
    assert await store.replay.again(Choice(id="unknown")) == []
    assert first != second


async def test_what_is_sent_again_goes_in_order(store: Store) -> None:
    await delivered(store, "a", times=5)
    assert len(await store.replay.again(Choice(since=DAY))) == 5
    assert await again(store) == [1, 2, 3, 4, 5]


async def test_new_ids_are_given_to_those_who_ask(store: Store) -> None:
    (old,) = await delivered(store, "a")
    ((new, _),) = await store.replay.again(Choice(id=old), new_id=True)
    assert new != old
    (one,) = await take(store)
    assert one.id == new
    assert [row.id for row in await store.outbox.log()] == [new]


async def test_the_dead_come_back_and_nothing_else(store: Store) -> None:
    await tell(store, "a", "b")
    first, second = await take(store)
    await settle(store, TAKEN, first)
    await settle(store, GONE, second)
    assert await store.replay.again(Choice(dead=True, hook="other")) == []
    assert await store.replay.again(Choice(dead=True)) == [(second.id, "team")]
    assert await again(store) == [2]


async def test_only_what_happened_since_is_sent_again(store: Store, clock: Clock) -> None:
    await delivered(store, "a")
    clock.forward(2 * DAY)
    assert await store.replay.again(Choice(since=DAY)) == []
    assert len(await store.replay.again(Choice(since=3 * DAY))) == 1


async def test_what_is_under_way_is_left_alone(store: Store) -> None:
    await tell(store, "a")
    (one,) = await take(store)
    assert await store.replay.again(Choice(since=DAY)) == []
    await settle(store, TAKEN, one)


async def test_a_late_answer_does_not_settle_what_is_sent_again(store: Store, clock: Clock) -> None:
    await tell(store, "a")
    (one,) = await take(store)
    clock.forward(MINUTE + timedelta(seconds=1))
    assert await store.replay.again(Choice(id=one.id)) == [(one.id, "team")]
    assert (await turn(store, (one, FAILED), most=0)).lost == 1
    assert len(await take(store)) == 1


async def test_naming_a_hook_switches_it_on_and_sends_what_waits(store: Store) -> None:
    await store.hooks.declare({"team": TABLE})
    await tell(store, "a", "b", times=2)
    first, second = await take(store)
    await settle(store, FAILED, second)
    await settle(store, GONE, first)
    assert await take(store) == ()
    await store.replay.again(Choice(hook="team"))
    assert await again(store) == [1, 2, 3, 4]


async def test_a_new_hook_is_told_what_it_missed_in_order(store: Store, clock: Clock) -> None:
    await delivered(store, "a", "b", times=3)
    clock.forward(HOUR)
    assert await store.replay.fill("late", DAY, LATE, JOBS) == 3
    assert await store.replay.fill("late", DAY, LATE, JOBS) == 0
    claimed = await take(store, hook="late")
    assert [(one.job, one.event_id, one.due_at) for one in claimed] == [("a", 1, clock.now)]
    bodies = {one.event_id: one.body for one in await store.outbox.log(hook="team")}
    assert claimed[0].body == bodies[1]
    assert claimed[0].id not in {one.id for one in await store.outbox.log(hook="team")}


async def test_what_is_filled_in_says_what_was_so_then(store: Store) -> None:
    job = heard("a")
    silent = replace(a_record(job), policy=replace(job.policy, hooks=()))
    run = replace(a_run(job, status=Status.QUEUED), result={"model": "voice_1"}, finished_at=NOW)
    await put(store, run, records=[silent])
    run = await happen(store, run, Status.RUNNING)
    await happen(store, replace(run, result={"model": "voice_1"}), Status.SUCCEEDED)
    assert await store.outbox.log() == []
    assert await store.replay.fill("late", DAY, LATE, JOBS) == 2
    running, done = (json.loads(one.body)["data"] for one in await store.outbox.log())
    assert (running["status"], running["result"], running["finished_at"]) == ("running", None, None)
    assert done["status"] == "succeeded"
    assert done["finished_at"] is not None


async def test_what_it_does_not_want_or_is_too_old_is_not_filled_in(store: Store, clock: Clock) -> None:
    await delivered(store, "a")
    deaf = Routing(hooks={"late": a_route("late", "job.failed")})
    assert await store.replay.fill("late", DAY, deaf, JOBS) == 0
    assert await store.replay.fill("late", DAY, LATE, {"a": ()}) == 0
    clock.forward(2 * DAY)
    assert await store.replay.fill("late", DAY, LATE, JOBS) == 0


async def test_an_audience_is_who_is_named_and_whether_the_run_stands(store: Store) -> None:
    await tell(store, "a", times=2)
    told = await store.replay.audience("a", TEAM)
    assert [(one.event.id, one.named, one.current) for one in told] == [
        (1, ("team",), True),
        (2, ("team",), True),
    ]
    assert await store.replay.audience("a", TEAM, most=1) == told[1:]
    assert await store.replay.audience("nobody", TEAM) == []


async def test_another_hook_inherits_what_it_does_not_have(store: Store) -> None:
    await tell(store, "a", times=2)
    await store.replay.fill("late", DAY, LATE, {"a": ("late",)})
    await store.replay.drop("late")
    await tell(store, "b")
    assert await store.replay.hand_over("team", "late") == 1
    assert [one.job for one in await take(store, hook="late")] == ["b"]
    assert [one.job for one in await take(store)] == ["a"]


async def test_what_waits_can_be_given_up(store: Store) -> None:
    await tell(store, "a", "b", times=2)
    assert await store.replay.drop("team") == 4
    assert await states(store) == [DeliveryState.DROPPED] * 4
    assert await store.replay.drop("team") == 0


async def test_a_state_that_did_not_last_is_dropped_and_the_next_goes_on(store: Store, clock: Clock) -> None:
    patient = Routing(hooks={"team": replace(a_route("team", *EVERYTHING), lasts=HOUR)})
    job = heard("a")
    run = a_run(job, status=Status.QUEUED)
    await put(store, run, records=[a_record(job)])
    run = await happen(store, run, Status.RUNNING, patient)
    assert await take(store) == ()
    await happen(store, run, Status.FAILED, patient)
    clock.forward(HOUR)
    (one,) = await take(store)
    assert one.event == "job.failed"
    assert [row.state for row in await store.outbox.log()] == [DeliveryState.DROPPED, DeliveryState.PENDING]
    assert (await store.outbox.log())[0].last_error == "not sent: the state did not last"


async def test_an_account_that_is_paused_for_long_is_told(store: Store, clock: Clock) -> None:
    route = replace(a_route("team", "provider.paused"), lasts=HOUR)
    routing = Routing(hooks={"team": route}, account_hooks=("team",))
    await store.accounts.declare({"oxen": "oxen", "cohere": "cohere"})
    for name in ("oxen", "cohere"):
        await store.accounts.pause(name, "401", routing, until=clock.now)
    await store.accounts.resume("cohere", routing)
    clock.forward(HOUR)
    assert [one.lane for one in await take(store)] == ["account:oxen"]
    assert sorted(await states(store)) == [DeliveryState.DROPPED, DeliveryState.PENDING]
