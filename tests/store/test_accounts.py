"""Accounts: one poller at a time, a pause told once, failures counted."""

import json
from datetime import timedelta

import anyio
import pytest
from core.make import NOW, a_job, a_run

from orchestrator.core.run import Reason, Status
from orchestrator.errors import LeaseLost
from orchestrator.store.accounts import Account
from orchestrator.store.claim import LEASE
from orchestrator.store.store import Store

from .make import ACCOUNT, HOUR, MINUTE, ROUTING, Clock, many, put, stored


@pytest.fixture(autouse=True)
async def _declared(store: Store) -> None:
    await store.accounts.declare({ACCOUNT: ACCOUNT, "oxen": "oxen"})


async def account(store: Store, name: str = ACCOUNT) -> Account:
    return {each.name: each for each in await store.accounts.all()}[name]


async def test_accounts_are_declared_once(store: Store, peer: Store) -> None:
    async with anyio.create_task_group() as tasks:
        for each in (store, peer) * 3:
            tasks.start_soon(each.accounts.declare, {"oxen": "oxen", "cohere": "cohere"})
    assert [each.name for each in await store.accounts.all()] == [ACCOUNT, "cohere", "oxen"]
    await store.accounts.declare({})


async def test_the_runs_that_count_are_those_that_may_be_at_work(store: Store) -> None:
    await put(store, *(a_run(a_job(status), status=status) for status in Status))
    assert [(each.name, each.open) for each in await store.accounts.all()] == [(ACCOUNT, 4), ("oxen", 0)]


async def test_nothing_is_known_of_an_account_whose_first_answer_was_lost(store: Store) -> None:
    await put(store, a_run(a_job("first"), status=Status.IN_DOUBT))
    found = await account(store)
    assert (found.open, found.known_at) == (1, None)


async def test_one_at_a_time_polls_an_account(store: Store, peer: Store, clock: Clock) -> None:
    mine = await store.accounts.claim(ACCOUNT)
    assert mine is not None
    assert await peer.accounts.claim(ACCOUNT) is None
    assert await peer.accounts.claim("oxen") is not None
    assert await peer.accounts.claim("unknown") is None
    clock.forward(LEASE + timedelta(microseconds=1))
    theirs = await peer.accounts.claim(ACCOUNT)
    assert theirs is not None
    assert theirs.epoch == mine.epoch + 1
    with pytest.raises(LeaseLost):
        await store.accounts.settle(mine, next_poll_at=clock.now)
    await peer.accounts.settle(theirs, next_poll_at=clock.now + MINUTE, confirmed_at=clock.now)
    found = await account(store)
    assert (found.confirmed_at, found.next_poll_at, found.owner) == (clock.now, clock.now + MINUTE, None)
    assert await store.accounts.claim(ACCOUNT) is None
    clock.forward(MINUTE)
    assert await store.accounts.claim(ACCOUNT) is not None


async def test_a_claim_is_kept_from_look_to_look(store: Store, peer: Store, clock: Clock) -> None:
    mine = await store.accounts.claim(ACCOUNT)
    assert mine is not None
    await put(store, a_run(status=Status.RUNNING))
    kept = await store.accounts.settle(
        mine, next_poll_at=NOW + HOUR, keep=True, interval=HOUR, confirmed_at=NOW
    )
    assert (kept.epoch, kept.lease_until) == (mine.epoch, NOW + LEASE)
    assert (await account(store)).interval == HOUR
    assert (await store.due_work.read(ACCOUNT)).poll == NOW + HOUR
    for _ in range(3):
        clock.forward(HOUR / 3)
        await store.leases.keep()
        assert (await peer.due_work.read(ACCOUNT)).poll == max(NOW + HOUR, clock.now + LEASE)
    assert await peer.accounts.claim(ACCOUNT) is None
    await peer.leases.let_go()
    assert (await account(store)).owner is not None
    await store.leases.let_go()
    assert await peer.accounts.claim(ACCOUNT) is not None
    with pytest.raises(LeaseLost):
        await store.accounts.settle(kept, next_poll_at=NOW)


async def test_concurrent_claims_of_an_account_have_one_winner(store: Store, peer: Store) -> None:
    won: list[Account] = []

    async def claim(each: Store) -> None:
        found = await each.accounts.claim(ACCOUNT)
        won.extend([found] if found else [])

    async with anyio.create_task_group() as tasks:
        for each in (store, peer):
            tasks.start_soon(claim, each)
    assert len(won) == 1


async def test_an_incomplete_look_confirms_nothing(store: Store) -> None:
    mine = await store.accounts.claim(ACCOUNT)
    assert mine is not None
    await store.accounts.settle(mine, next_poll_at=NOW, error="page 2 is missing")
    found = await account(store)
    assert (found.confirmed_at, found.last_error, found.failures) == (None, "page 2 is missing", 1)


async def test_failures_are_counted_until_it_answers_again(store: Store) -> None:
    for failures in (1, 2, 3):
        await store.accounts.fail(ACCOUNT, "503", until=NOW + HOUR)
        found = await account(store)
        assert (found.failures, found.last_error, found.next_poll_at) == (failures, "503", NOW + HOUR)
    await store.accounts.recover(ACCOUNT, 2)
    assert (await account(store)).failures == 3
    await store.accounts.recover(ACCOUNT, 3)
    found = await account(store)
    assert (found.failures, found.last_error) == (0, None)
    assert (await account(store, "oxen")).failures == 0


async def test_what_one_daemon_meets_is_not_undone_by_another(
    store: Store, peer: Store, clock: Clock
) -> None:
    mine = await store.accounts.claim(ACCOUNT)
    assert mine is not None
    await put(store, a_run(status=Status.RUNNING))
    await peer.accounts.fail(ACCOUNT, "429", until=NOW + HOUR, asked=NOW + HOUR)
    await peer.accounts.fail(ACCOUNT, "503", until=NOW + MINUTE)
    found = await account(store)
    assert (found.owner, found.lease_until) == (mine.owner, NOW + LEASE)
    settled = await store.accounts.settle(mine, next_poll_at=NOW + MINUTE, confirmed_at=NOW)
    assert (settled.next_poll_at, settled.failures) == (NOW + HOUR, 2)
    await store.accounts.recover(ACCOUNT, 0)
    await store.accounts.reconsider(ACCOUNT)
    found = await account(store)
    assert (found.owner, found.next_poll_at) == (None, NOW + HOUR)
    assert (found.failures, found.last_error, found.confirmed_at) == (2, "503", NOW)
    clock.forward(HOUR - MINUTE)
    assert (await store.due_work.read(ACCOUNT)).rests_until == NOW + HOUR


async def test_a_pause_and_a_resume_are_told_once_each(store: Store, peer: Store) -> None:
    waiting, held = a_run(a_job("waiting")), a_run(a_job("held"), reason=Reason.LIMIT)
    running, other = a_run(a_job("running"), status=Status.RUNNING), a_run(a_job("other", account="oxen"))
    await put(store, waiting, held, running, other)
    told: list[bool] = []

    async def pause(each: Store) -> None:
        told.append(await each.accounts.pause(ACCOUNT, "401: bad key", ROUTING, until=NOW + HOUR))

    async with anyio.create_task_group() as tasks:
        for each in (store, peer) * 2:
            tasks.start_soon(pause, each)
    assert sorted(told) == [False, False, False, True]
    found = await account(store)
    assert (found.paused, found.failures, found.next_poll_at) == ("401: bad key", 4, NOW + HOUR)
    reasons = [(await stored(store, run)).reason for run in (waiting, held, running, other)]
    assert reasons == [Reason.CREDENTIALS, Reason.CREDENTIALS, None, None]

    async with anyio.create_task_group() as tasks:
        for each in (store, peer) * 2:
            tasks.start_soon(each.accounts.resume, ACCOUNT, ROUTING)
    found = await account(store)
    assert (found.paused, found.failures) == (None, 0)
    assert (await stored(store, waiting)).reason is None
    assert [(event.type, event.account, event.job) for event in await store.views.events()] == [
        ("provider.paused", ACCOUNT, None),
        ("provider.resumed", ACCOUNT, None),
    ]
    deliveries = await store.outbox.log()
    assert [(delivery.hook, delivery.event) for delivery in deliveries] == [
        ("ops", "provider.paused"),
        ("ops", "provider.resumed"),
    ]
    assert json.loads(deliveries[0].body)["data"]["message"] == "401: bad key"


async def test_pauses_and_commits_of_the_same_runs_never_block_each_other(store: Store, peer: Store) -> None:
    await put(store, *many(30))

    async def pause() -> None:
        for _ in range(10):
            await store.accounts.pause(ACCOUNT, "401", ROUTING, until=NOW)
            await store.accounts.resume(ACCOUNT, ROUTING)

    async def cancel(order: int) -> None:
        for run in (await peer.work.open_runs())[::order][:10]:
            await peer.decisions.cancel(run, "cancel", ROUTING)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(pause)
        tasks.start_soon(cancel, 1)
        tasks.start_soon(cancel, -1)
    assert len(await store.work.open_runs()) == 10
