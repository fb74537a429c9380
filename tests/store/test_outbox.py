"""Deliveries: in order for each job and hook, one worker at a time, settled once."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import anyio
from core.make import NOW, a_record, a_route, a_run

from orchestrator.core.delivery import SCHEDULE, Delivery, DeliveryState, Finished
from orchestrator.core.receiver import Attempt
from orchestrator.core.run import Run, Status
from orchestrator.core.transition import finish
from orchestrator.store.claim import LEASE
from orchestrator.store.commit import Routing
from orchestrator.store.hooks import Declared
from orchestrator.store.store import Store
from orchestrator.store.tables import deliveries

from .make import EVERYTHING, Clock, heard, put, rows

BOTH = Routing(hooks={"team": a_route("team", *EVERYTHING), "other": a_route("other", *EVERYTHING)})
MINUTE = timedelta(minutes=1)
ORIGIN = "https://example.com:443"
TAKEN = Attempt(taken=True, text="HTTP 200")
GONE = Attempt(gone=True, code=410, text="HTTP 410")
ORIGIN = "https://example.com:443"
TAKEN = Attempt(taken=True)


async def tell(store: Store, *jobs: str, times: int = 1) -> None:
    """Let each of `jobs` go through as many events, which `team` hears of."""
    for name in jobs:
        job = heard(name)
        run = a_run(job, status=Status.QUEUED)
        await put(store, run, records=[a_record(job)])
        for _ in range(times):
            run = await _told(store, run, BOTH)


async def _told(store: Store, run: Run, routing: Routing) -> Run:
    moved = finish(run, NOW, status=Status.RUNNING)
    await store.work.commit([moved], routing)
    return moved.run


async def claim(store: Store, hook: str = "team", most: int = 99) -> list[tuple[str | None, int | None]]:
    """Claim, and return the jobs and events that were claimed."""
    return [(delivery.job, delivery.event_id) for delivery in await take(store, most, hook)]


async def take(store: Store, most: int = 99, hook: str = "team") -> Sequence[Delivery]:
    return (await store.outbox.next_batch(hook, ORIGIN, most=most, probe=MINUTE)).claimed


async def done(store: Store, delivery: Delivery, attempt: Attempt = TAKEN) -> bool:
    """Settle one delivery and claim nothing; says whether it was still ours."""
    finished = [Finished(delivery=delivery, attempt=attempt, jitter=1.0)]
    turn = await store.outbox.next_batch(delivery.hook, ORIGIN, finished, most=0, probe=MINUTE)
    return turn.lost == 0


async def test_of_each_job_only_the_oldest_is_claimed_and_other_jobs_go_on(store: Store) -> None:
    await tell(store, "a", "b", times=3)
    first = await take(store)
    assert [(delivery.job, delivery.event_id) for delivery in first] == [("a", 1), ("b", 4)]
    assert await claim(store) == []
    assert await done(store, first[0])
    assert await claim(store) == [("a", 2)]


async def test_a_failed_head_holds_back_its_job_until_it_is_settled(store: Store, clock: Clock) -> None:
    await tell(store, "a", times=2)
    for attempt in range(1, 12):
        (head,) = await take(store)
        assert (head.event_id, head.attempts) == (1, attempt - 1)
        assert await done(store, head, Attempt(code=500, text="HTTP 500"))
        if attempt == 11:
            break
        assert await claim(store) == []
        assert await store.outbox.wait("team", ORIGIN) == SCHEDULE[attempt]
        assert not await store.outbox.due()
        clock.forward(SCHEDULE[attempt])
        assert await store.outbox.due()
    assert await claim(store) == [("a", 2)]
    (dead, _) = await store.outbox.log()
    assert (dead.state, dead.attempts, dead.last_error) == (DeliveryState.DEAD, 11, "HTTP 500")


async def test_hooks_do_not_wait_for_each_other(store: Store) -> None:
    job = heard("a")
    run = a_run(job, status=Status.QUEUED)
    record = a_record(job)
    both = replace(record, policy=replace(record.policy, hooks=("team", "other")))
    await put(store, run, records=[both])
    await _told(store, await _told(store, run, BOTH), BOTH)
    assert await claim(store, "team") == [("a", 1)]
    assert await claim(store, "other") == [("a", 1)]
    assert await claim(store, "team") == await claim(store, "other") == await claim(store, "unknown") == []
    assert await store.outbox.unsettled(["team"]) == 2
    assert await store.outbox.unsettled() == 4


async def test_two_claims_never_share_a_delivery(store: Store, peer: Store) -> None:
    await tell(store, *(f"job-{number}" for number in range(30)), times=2)
    taken: list[str] = []

    async def worker(each: Store) -> None:
        while claimed := await take(each, most=4):
            for delivery in claimed:
                taken.append(delivery.id)
                assert await done(each, delivery)

    async with anyio.create_task_group() as tasks:
        for number in range(6):
            tasks.start_soon(worker, (store, peer)[number % 2])
    assert len(taken) == len(set(taken)) == 60


async def test_concurrent_workers_keep_the_order_of_each_job(store: Store, peer: Store) -> None:
    await tell(store, "a", "b", "c", times=8)
    order: dict[str, list[int]] = {"a": [], "b": [], "c": []}

    async def worker(each: Store) -> None:
        while await store.outbox.unsettled():
            for delivery in await take(each, most=2):
                order[delivery.lane].append(delivery.event_id or 0)
                assert await done(each, delivery)

    async with anyio.create_task_group() as tasks:
        for number in range(4):
            tasks.start_soon(worker, (store, peer)[number % 2])
    assert all(ids == sorted(ids) and len(ids) == 8 for ids in order.values())


async def test_a_late_settle_is_dropped(store: Store, peer: Store, clock: Clock) -> None:
    await tell(store, "a")
    (mine,) = await take(store)
    clock.forward(MINUTE + timedelta(microseconds=1))
    (theirs,) = await take(peer)
    assert theirs.epoch == mine.epoch + 1
    assert not await done(store, mine, Attempt(gone=True, text="410"))
    assert await done(peer, theirs)
    assert not await done(store, mine, Attempt(gone=True, text="410"))
    (row,) = await store.outbox.log()
    assert (row.state, row.attempts, row.settled_at, row.owner) == (
        DeliveryState.DELIVERED,
        1,
        clock.now,
        None,
    )


async def test_the_next_that_is_due_is_one_that_can_be_claimed(store: Store, clock: Clock) -> None:
    assert await store.outbox.wait("team", ORIGIN) is None
    await tell(store, "a", times=2)
    assert await store.outbox.wait("team", ORIGIN) == timedelta(0)
    assert await store.outbox.wait("other", ORIGIN) is None
    (head,) = await take(store)
    assert await store.outbox.wait("team", ORIGIN) == LEASE
    assert await done(store, head)
    assert await store.outbox.wait("team", ORIGIN) == timedelta(0)
    await store.leases.let_go()


async def test_claims_are_let_go_of_when_the_worker_stops(store: Store, peer: Store) -> None:
    await tell(store, "a")
    await take(store)
    await peer.leases.let_go()
    assert await claim(peer) == []
    await store.leases.let_go()
    assert await claim(peer) == [("a", 1)]


async def test_concurrent_failures_of_a_hook_are_all_counted(store: Store, peer: Store) -> None:
    await store.hooks.declare({"team": Declared(digest="d", origin=ORIGIN)})
    await tell(store, *(f"job-{number}" for number in range(12)))
    claimed = await take(store)

    async def fail(each: Store, part: Sequence[Delivery]) -> None:
        for delivery in part:
            assert await done(each, delivery, Attempt(code=404, text="HTTP 404"))

    async with anyio.create_task_group() as tasks:
        for number in range(4):
            tasks.start_soon(fail, (store, peer)[number % 2], claimed[number::4])
    (standing,) = await store.hooks.all()
    assert standing.health.refusals == 12


async def test_the_log_can_be_read_page_by_page(store: Store) -> None:
    await tell(store, "a", "b", times=3)
    whole = await store.outbox.log()
    assert [delivery.event_id for delivery in whole] == [1, 2, 3, 4, 5, 6]
    assert await store.outbox.log(most=2) == whole[-2:]
    assert await store.outbox.log(after=whole[1].id, most=2) == whole[2:4]
    assert await store.outbox.log(after=whole[5].id) == []
    assert await store.outbox.log(after="unknown") == []
    assert await store.outbox.log(hook="other") == []
    assert await store.outbox.unsettled() == 6


async def test_a_replaced_run_is_told_only_to_those_who_ask(store: Store) -> None:
    old, new = heard("a"), heard("a", value=1)
    run = a_run(old, status=Status.QUEUED)
    await put(store, run, records=[a_record(old)])
    await put(store, records=[a_record(new)])
    await _told(store, run, BOTH)
    assert await store.outbox.log() == []
    asking = Routing(hooks={"team": a_route("team", *EVERYTHING, superseded=True)})
    await _told(store, (await store.views.history("a"))[0], asking)
    (told,) = await store.outbox.log()
    assert b'"current":false' in told.body


async def test_a_run_with_a_newer_attempt_is_replaced_too(store: Store) -> None:
    job = heard("a")
    first = a_run(job, status=Status.RUNNING)
    await put(store, first, a_run(job, attempt=2, status=Status.RUNNING), records=[a_record(job)])
    await _told(store, first, BOTH)
    assert await store.outbox.log() == []


async def test_a_run_of_no_recorded_job_is_told_to_the_hooks_of_the_accounts(store: Store) -> None:
    run = a_run(status=Status.QUEUED)
    await put(store, run)
    await _told(store, run, Routing(hooks=BOTH.hooks, account_hooks=("team",)))
    assert len(await rows(store.database, deliveries)) == 1
