"""Claims and guarded commits."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from typing import Any

import anyio
import pytest
import sqlalchemy as sa
from anyio import from_thread
from core.make import NOW, a_job, a_record, a_run, a_snapshot

from orchestrator.core.run import Reason, Run, Status, next_call
from orchestrator.core.transition import (
    Transition,
    bind,
    doubt,
    finish,
    look_again,
    observe,
    retreat,
    send,
    step_sent,
)
from orchestrator.errors import LeaseLost, StoreError
from orchestrator.store.claim import LEASE
from orchestrator.store.commit import commit
from orchestrator.store.database import Tx
from orchestrator.store.starts import PAGE
from orchestrator.store.store import Store
from orchestrator.store.tables import deliveries, events, runs

from .make import ACCOUNT, HOUR, ROUTING, Clock, heard, many, put, put_job, rows, stored

Claim = Callable[[Store, int], Awaitable[Sequence[Run]]]


only_postgres = pytest.mark.parametrize("database_url", ["postgres"], indirect=True)


async def claim_sends(store: Store, most: int) -> Sequence[Run]:
    return await store.work.claim_sends(ACCOUNT, most=most, max_running=None)


async def claim_looks(store: Store, most: int) -> Sequence[Run]:
    return await store.work.claim_looks(ACCOUNT, most=most)


async def claim_calls(store: Store, most: int) -> Sequence[Run]:
    return await store.work.claim_calls(ACCOUNT, most=most)


CLAIMS = [
    (claim_sends, {}),
    (claim_looks, {"status": Status.IN_DOUBT, "reason": Reason.LOOKING}),
    (claim_calls, {"status": Status.QUEUED, "steps": {"run": "todo"}}),
]


@pytest.mark.parametrize("declared", [True, False])
@pytest.mark.parametrize(("claim", "changes"), CLAIMS)
async def test_two_claims_never_share_a_run(
    store: Store, peer: Store, claim: Claim, changes: dict[str, Any], declared: bool
) -> None:
    if declared:
        await store.accounts.declare({ACCOUNT: ACCOUNT})
    await put(store, *many(60, **changes))
    taken: list[str] = []

    async def worker(each: Store) -> None:
        while claimed := await claim(each, 7):
            taken.extend(run.id for run in claimed)

    async with anyio.create_task_group() as tasks:
        for number in range(6):
            tasks.start_soon(worker, (store, peer)[number % 2])
    assert sorted(taken) == sorted(run.id for run in many(60))


@pytest.mark.parametrize(("claim", "changes"), CLAIMS)
async def test_a_claim_takes_the_oldest_raises_the_epoch_and_ends(
    store: Store, peer: Store, clock: Clock, claim: Claim, changes: dict[str, Any]
) -> None:
    await put(store, *many(3, **changes))
    first = await claim(store, 2)
    assert [run.job for run in first] == ["job-000", "job-001"]
    assert [(run.owner, run.epoch, run.lease_until) for run in first] == [("me", 1, NOW + LEASE)] * 2
    assert [run.job for run in await claim(peer, 9)] == ["job-002"]
    clock.forward(LEASE)
    assert await claim(peer, 9) == []
    clock.forward(timedelta(microseconds=1))
    assert [run.epoch for run in await claim(peer, 9)] == [2, 2]  # what it holds itself it has no need of
    assert [(run.job, run.epoch) for run in await claim(store, 9)] == [("job-002", 2)]


@pytest.mark.parametrize(("claim", "changes"), CLAIMS)
async def test_a_released_claim_is_free_and_a_stale_release_is_not(
    store: Store, peer: Store, clock: Clock, claim: Claim, changes: dict[str, Any]
) -> None:
    await put(store, *many(1, **changes))
    first = await claim(store, 1)
    await store.work.release(first)
    second = await claim(peer, 1)
    assert [run.owner for run in second] == ["peer"]
    await store.work.release(first)
    assert await claim(store, 1) == []
    await store.work.release([])
    clock.forward(LEASE * 2)
    assert len(await claim(store, 1)) == 1


@pytest.mark.parametrize("due", [None, NOW, NOW - HOUR, NOW + HOUR])
@pytest.mark.parametrize(("claim", "changes"), CLAIMS)
async def test_only_what_is_due_is_claimed(
    store: Store, claim: Claim, changes: dict[str, Any], due: Any
) -> None:
    await put(store, *many(1, **changes, due_at=due))
    assert len(await claim(store, 1)) == (0 if due == NOW + HOUR else 1)


async def test_each_claim_takes_its_own_kind_of_run_alone(store: Store) -> None:
    kinds: list[dict[str, Any]] = [
        *({"status": status} for status in Status),
        *({"status": Status.IN_DOUBT, "reason": reason} for reason in Reason),
        *({"status": status, "cancel": "cancel"} for status in Status),
        *({"status": status, "steps": {"run": "sent"}} for status in Status),
        {"status": Status.RUNNING, "cancel": "cancel", "cancel_sent": True},
        {"status": Status.QUEUED, "steps": {"run": "done"}},
        {"account": "oxen"},
    ]
    plain = many(len(kinds))
    added = [replace(run, remote_id=run.job, **kind) for run, kind in zip(plain, kinds, strict=True)]
    await put(store, *added)

    def matching(test: Callable[[Run], bool]) -> set[str]:
        return {run.id for run in added if run.account == ACCOUNT and test(run)}

    async def claimed(claim: Claim) -> set[str]:
        return {run.id for run in await claim(store, 99)}

    assert await claimed(claim_sends) == matching(lambda run: next_call(run) == "submit")
    assert await claimed(claim_looks) == matching(lambda run: next_call(run) == "find")
    assert await claimed(claim_calls) == matching(lambda run: next_call(run) in ("step", "cancel"))


async def test_what_is_being_sent_is_left_to_its_sender_until_the_lease_ends(
    store: Store, peer: Store, clock: Clock
) -> None:
    await put_job(store)
    (run,) = await claim_sends(store, 1)
    await store.work.move(run, send, ROUTING)
    assert await claim_looks(peer, 9) == []
    clock.forward(LEASE + timedelta(seconds=1))
    (found,) = await claim_looks(peer, 9)
    assert (found.status, found.sent_at, found.epoch) == (Status.SUBMITTING, NOW, 2)
    with pytest.raises(LeaseLost):
        await store.work.move(replace(run, status=Status.SUBMITTING), partial(_bound), ROUTING)


def _bound(run: Run, now: Any) -> Transition:
    return bind(run, a_snapshot(remote_id="ft_1"), now)


async def test_what_a_sender_let_go_of_is_looked_for_at_once(store: Store, peer: Store) -> None:
    await put_job(store)
    claimed = await claim_sends(store, 1)
    await store.work.move(claimed[0], send, ROUTING)
    await store.work.release(claimed)
    assert len(await claim_looks(peer, 9)) == 1
    assert await claim_sends(peer, 9) == []


async def test_max_running_counts_all_that_may_be_at_work(store: Store) -> None:
    open_ = [Status.SUBMITTING, Status.IN_DOUBT, Status.QUEUED, Status.RUNNING]
    added = many(10)
    for number, status in enumerate([*open_, Status.SUCCEEDED, Status.FAILED]):
        added[number] = replace(added[number], status=status)
    await put(store, *added)
    assert [run.job for run in await store.work.claim_sends(ACCOUNT, most=9, max_running=6)] == [
        "job-006",
        "job-007",
    ]
    assert await store.work.claim_sends(ACCOUNT, most=9, max_running=6) == []
    assert await store.work.claim_sends(ACCOUNT, most=9, max_running=3) == []
    left = [await stored(store, run) for run in added[6:]]
    assert [run.reason for run in left] == [None, None, Reason.LIMIT, Reason.LIMIT]
    assert left[2].message == "waiting: max_running of its account is reached"
    sent = await store.work.claim_sends(ACCOUNT, most=9, max_running=7)
    assert [run.job for run in sent] == ["job-008"]
    assert send(sent[0], NOW).run.reason is None


async def test_max_running_holds_however_many_claim_at_once(store: Store, peer: Store) -> None:
    await store.accounts.declare({ACCOUNT: ACCOUNT})
    await put(store, *many(40))
    taken: list[str] = []

    async def worker(each: Store) -> None:
        for _ in range(3):
            claimed = await each.work.claim_sends(ACCOUNT, most=3, max_running=10)
            taken.extend(run.id for run in claimed)

    async with anyio.create_task_group() as tasks:
        for number in range(8):
            tasks.start_soon(worker, (store, peer)[number % 2])
    assert len(taken) == len(set(taken)) == 10


@pytest.mark.parametrize("status", Status)
async def test_a_run_waits_for_the_end_of_the_one_before(store: Store, status: Status) -> None:
    first = a_run(a_job("first"), status=status, owner="x", lease_until=NOW + HOUR)
    await put(store, first, a_run(a_job("second"), after=first.id))
    assert [run.job for run in await claim_sends(store, 9)] == (["second"] if status.final else [])


async def test_a_commit_writes_run_event_and_delivery_together_or_not_at_all(store: Store) -> None:
    run = await put_job(store, status=Status.RUNNING, sequence=2)
    done = finish(run, NOW, status=Status.SUCCEEDED, result={"model": "m"})

    async def attempt(calls: int) -> bool:
        def work(tx: Tx) -> None:
            commit(Failing(tx.connection, tx.now, [None] * calls), "acme", [done], ROUTING)

        try:
            await store.database.write(work)
        except ConnectionError:
            return False
        return True

    calls = 0
    while not await attempt(calls):
        assert await stored(store, run) == run
        assert await rows(store.database, events) == []
        assert await rows(store.database, deliveries) == []
        calls += 1
    assert calls >= 4
    assert (await stored(store, run)).result == {"model": "m"}
    (event,) = await rows(store.database, events)
    (delivery,) = await rows(store.database, deliveries)
    assert (event["type"], event["sequence"], event["run_id"]) == ("job.succeeded", 3, run.id)
    assert (delivery["event_id"], delivery["hook"], delivery["lane"]) == (event["id"], "team", run.job)


@dataclass(frozen=True, slots=True)
class Failing(Tx):
    """A transaction whose connection breaks after some statements."""

    left: list[None]

    def execute(self, statement: sa.Executable, parameters: Any = None) -> sa.CursorResult[Any]:
        if not self.left:
            raise ConnectionError
        self.left.pop()
        return Tx.execute(self, statement, parameters)


async def test_a_stale_commit_changes_nothing_not_even_for_the_others(
    store: Store, peer: Store, clock: Clock
) -> None:
    await put(store, *many(5))
    mine = await claim_sends(store, 5)
    clock.forward(LEASE * 2)
    (taken,) = await claim_sends(peer, 1)
    before = await rows(store.database, runs)
    with pytest.raises(LeaseLost):
        await store.work.commit([send(run, clock.now) for run in mine], ROUTING)
    with pytest.raises(LeaseLost):
        await store.work.move(mine[0], send, ROUTING)
    assert await rows(store.database, runs) == before
    await peer.work.commit([send(taken, clock.now)], ROUTING)
    await store.work.commit([send(run, clock.now) for run in mine[1:]], ROUTING)
    assert {run.status for run in await store.work.open_runs()} == {Status.SUBMITTING}


@pytest.mark.parametrize(
    "changes", [{"sequence": 1}, {"epoch": 1}, {"status": Status.RUNNING}, {"id": "other"}]
)
async def test_a_commit_on_another_state_than_was_read_is_stale(
    store: Store, changes: dict[str, Any]
) -> None:
    run = await put_job(store, status=Status.QUEUED)
    with pytest.raises(LeaseLost):
        await store.work.commit([finish(replace(run, **changes), NOW, status=Status.FAILED)], ROUTING)
    assert await stored(store, run) == run
    await store.work.commit([], ROUTING)


async def test_a_poll_does_not_write_over_a_call_that_is_under_way(store: Store, peer: Store) -> None:
    await put_job(store, status=Status.QUEUED, steps={"run": "todo"})
    (held,) = await claim_calls(store, 1)
    seen = observe(held, a_snapshot(Status.RUNNING), NOW)
    await store.work.move(held, lambda run, now: step_sent(run, "run"), ROUTING)
    with pytest.raises(LeaseLost):
        await peer.work.commit([seen], ROUTING)
    assert (await stored(store, held)).steps == {"run": "sent"}


async def test_no_two_events_of_a_run_share_a_number(store: Store) -> None:
    run = await put_job(store, status=Status.RUNNING)
    done = finish(run, NOW, status=Status.FAILED)
    again = Transition(before=done.run, run=done.run, events=done.events)
    await store.work.commit([done], ROUTING)
    with pytest.raises(StoreError, match="unique"):
        await store.work.commit([again], ROUTING)
    assert len(await rows(store.database, events)) == 1


async def test_commits_of_the_same_runs_in_any_order_never_block_each_other(
    store: Store, peer: Store
) -> None:
    added = many(12, status=Status.QUEUED)
    await put(store, *added)
    lost = []

    async def worker(each: Store, order: Sequence[str]) -> None:
        for _ in range(15):
            read = {run.id: run for run in await each.work.open_runs()}
            moves = [look_again(read[run_id], due_at=NOW) for run_id in order]
            told = [replace(move, run=replace(move.run, sequence=move.run.sequence + 1)) for move in moves]
            try:
                await each.work.commit(told, ROUTING)
            except LeaseLost:
                lost.append(order)

    forth = [run.id for run in added]
    async with anyio.create_task_group() as tasks:
        for each, order in ((store, forth), (peer, forth[::-1]), (store, forth[6:] + forth[:6])):
            tasks.start_soon(worker, each, order)
    looks = {run.looks for run in await store.work.open_runs()}
    assert looks == {45 - len(lost)}


async def test_a_run_that_comes_back_to_pending_after_its_end_was_asked_for_is_cancelled(
    store: Store,
) -> None:
    await put_job(store)
    (run,) = await claim_sends(store, 1)
    sent = await store.work.move(run, send, ROUTING)
    await store.decisions.cancel(sent, "cancel", ROUTING)
    refused = partial(retreat, reason=None, message="429", due_at=NOW)
    await store.work.move(sent, lambda run, now: refused(run, now).released(), ROUTING)
    ended = await stored(store, run)
    assert (ended.status, ended.message) == (Status.CANCELLED, "cancelled before it was sent")
    assert [event.type for event in await store.views.events()] == ["job.cancelled"]
    assert await store.outbox.unsettled() == 1
    assert await claim_sends(store, 9) == []


async def test_events_get_their_numbers_in_the_order_in_which_they_are_seen(
    store: Store, peer: Store
) -> None:
    added = many(40, status=Status.RUNNING)
    await put(store, *added)
    seen: list[int] = []

    async def follow() -> None:
        while len(seen) < 40:
            found = await store.views.events(after=seen[-1] if seen else 0)
            seen.extend(event.id or 0 for event in found)

    async def end(each: Store, part: Sequence[Run]) -> None:
        for run in part:
            await each.work.commit([finish(run, NOW, status=Status.FAILED)], ROUTING)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(follow)
        for number in range(4):
            tasks.start_soon(end, (store, peer)[number % 2], added[number::4])
    assert seen == sorted(set(seen))


@only_postgres
async def test_no_event_is_seen_before_one_with_a_lower_number(store: Store, peer: Store) -> None:
    first, second = many(2, status=Status.RUNNING)
    await put(store, first, second)
    done = anyio.Event()

    async def end_second() -> None:
        await peer.work.commit([finish(second, NOW, status=Status.FAILED)], ROUTING)
        done.set()

    def end_first(tx: Tx) -> None:
        commit(tx, "acme", [finish(first, NOW, status=Status.FAILED)], ROUTING)
        from_thread.run_sync(tasks.start_soon, end_second)
        while not from_thread.run(_somebody_waits, peer):
            assert not done.is_set()

    async with anyio.create_task_group() as tasks:
        await store.database.write(end_first)
    assert [event.run_id for event in await store.views.events()] == [first.id, second.id]


async def _somebody_waits(store: Store) -> bool:
    waiting = sa.text("select 1 from pg_locks where locktype = 'advisory' and not granted")
    return bool(await store.database.read(lambda tx: _all(tx, waiting)))


def _all(tx: Tx, statement: sa.TextClause) -> Sequence[Any]:
    return (tx.execute(statement)).all()


@only_postgres
async def test_a_claim_does_not_wait_for_a_run_that_another_is_writing(store: Store, peer: Store) -> None:
    await put(store, *many(2, status=Status.QUEUED, steps={"run": "todo"}))

    def work(tx: Tx) -> None:
        tx.execute(sa.update(runs).where(runs.c.job == "job-000").values(message="at work"))
        assert [run.job for run in from_thread.run(claim_calls, peer, 2)] == ["job-001"]

    await store.database.write(work)


async def test_a_whole_run_comes_back_as_it_was_stored(store: Store) -> None:
    job = heard()
    run = a_run(
        replace(job, spec={"text": "ü \u2028 \x7f", "list": [1, 2.5, None, {"a": True}]}),
        status=Status.SUCCEEDED,
        reason=Reason.HELD,
        steps={"b": "done", "a": "todo"},
        result={"model": "m", "voices": [{"id": "v"}]},
        message="'; drop table runs; --",
        cancel="delete",
        looks=3,
        sent_at=NOW,
        finished_at=NOW + HOUR,
        owner="me",
        lease_until=NOW + LEASE,
        epoch=1,
    )
    await put(store, run, records=[a_record(job)])
    found = await stored(store, run)
    assert found == run
    assert list(found.steps) == ["b", "a"]
    assert await store.work.by_id("unknown") is None


async def test_reads_of_an_account(store: Store) -> None:
    queued, running = many(2, status=Status.QUEUED)
    running = replace(running, status=Status.RUNNING, provider_status="training", submitted_at=NOW - HOUR)
    done = replace(many(3, status=Status.SUCCEEDED)[2])
    pending, doubtful = a_run(a_job("pending")), a_run(a_job("doubtful"), status=Status.IN_DOUBT)
    await put(store, queued, running, done, pending, doubtful)
    work = store.work
    ids = [run.remote_id or "" for run in (running, done)]
    assert await work.bound(ACCOUNT, [*ids, "unknown"]) == dict(zip(ids, (running, done), strict=True))
    assert await work.bound(ACCOUNT, []) == {}
    assert await work.markers([done.marker, "ft1-unknown"]) == {done.marker: done}
    assert await work.markers([]) == {}
    assert {run.id for run in await work.open_runs()} == {
        run.id for run in (queued, running, pending, doubtful)
    }


async def test_the_claims_of_the_dead_are_free_at_once(store: Store, peer: Store, clock: Clock) -> None:
    await store.accounts.declare({ACCOUNT: ACCOUNT})
    await put(store, *many(2))
    run = await put_job(store, status=Status.RUNNING)
    await store.work.commit([finish(run, NOW, status=Status.FAILED)], ROUTING)
    (mine,) = await claim_sends(store, 1)
    (theirs,) = await claim_sends(peer, 1)
    sent = await peer.work.move(theirs, send, ROUTING)
    assert await peer.accounts.claim(ACCOUNT) is not None
    assert len((await peer.outbox.next_batch("team", "x", most=9, probe=HOUR)).claimed) == 1
    await store.leases.end(lambda owner: owner != "peer")
    assert [found.id for found in await claim_looks(store, 9)] == [sent.id]
    assert await claim_sends(peer, 9) == []
    assert await store.accounts.claim(ACCOUNT) is not None
    assert len((await store.outbox.next_batch("team", "x", most=9, probe=HOUR)).claimed) == 1
    with pytest.raises(LeaseLost):
        await peer.work.move(sent, partial(doubt, message="late"), ROUTING)
    assert (await stored(store, mine)).lease_until == NOW + LEASE
    await store.leases.end(lambda _: True)
    assert (await stored(store, mine)).lease_until == NOW + LEASE


async def test_any_number_of_runs_that_wait_for_another_hold_up_none_behind_them(store: Store) -> None:
    first = a_run(a_job("first"), status=Status.RUNNING)
    waiting = [a_run(a_job(f"waits-{number:03}"), after=first.id) for number in range(PAGE + 5)]
    later = [a_run(a_job(name), created_at=NOW + timedelta(seconds=1)) for name in ("one", "other")]
    await put(store, first, *waiting, *later)
    assert [run.job for run in await store.work.claim_sends(ACCOUNT, most=9, max_running=2)] == ["one"]
    reasons = {row["job"]: row["reason"] for row in await rows(store.database, runs)}
    assert reasons["other"] == Reason.LIMIT
    assert {reasons[run.job] for run in waiting} == {None}


async def test_nothing_of_an_account_that_rests_is_claimed(store: Store) -> None:
    await put(store, a_run(a_job("one")))
    await store.accounts.declare({ACCOUNT: "cartesia"})
    await store.accounts.fail(ACCOUNT, "no answer", until=await store.now() + timedelta(minutes=1))
    assert await claim_sends(store, 9) == []
    await store.accounts.recover(ACCOUNT, 1)
    assert [run.job for run in await claim_sends(store, 9)] == ["one"]


async def test_nothing_is_claimed_while_the_provider_wants_to_be_left_alone(store: Store) -> None:
    await put(store, a_run(a_job("one")))
    await store.accounts.declare({ACCOUNT: "cartesia"})
    now = await store.now()
    asked = now + timedelta(minutes=5)
    await store.accounts.fail(ACCOUNT, "too many", until=now, asked=asked)
    await store.accounts.recover(ACCOUNT, 1)
    assert await claim_sends(store, 9) == []
