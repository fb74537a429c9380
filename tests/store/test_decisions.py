"""What a person decides, beside loops that go on."""

from datetime import datetime
from functools import partial
from typing import Any

import pytest
from core.make import NOW, a_job, a_record, a_run, a_snapshot

from orchestrator.core.changeset import Changeset
from orchestrator.core.plan import Plan
from orchestrator.core.run import Reason, Run, Status
from orchestrator.core.transition import Transition, bind, doubt, finish, retreat, send
from orchestrator.errors import LeaseLost, StoreError, UsageError
from orchestrator.store.store import Store

from .make import ACCOUNT, HOUR, ROUTING, put, put_job, stored

resend = partial(retreat, reason=None, message="sent again, as requested", due_at=NOW)


def adopted(run: Run, now: datetime) -> Transition:
    return bind(run, a_snapshot(remote_id="ft_9"), now)


async def test_what_was_never_sent_is_cancelled_at_once(store: Store) -> None:
    run = await put_job(store)
    ended = await store.decisions.cancel(run, "cancel", ROUTING)
    assert ended.status is Status.CANCELLED
    assert (await stored(store, run)).status is Status.CANCELLED
    assert [event.type for event in await store.views.events(job=run.job)] == ["job.cancelled"]
    assert [delivery.hook for delivery in await store.outbox.log()] == ["team"]
    assert await store.decisions.cancel(run, "cancel", ROUTING) == await stored(store, run)
    assert len(await store.views.events()) == 1


async def test_what_is_about_to_be_sent_is_cancelled_and_never_sent(store: Store, peer: Store) -> None:
    await put_job(store)
    (run,) = await store.work.claim_sends(ACCOUNT, most=1, max_running=None)
    ended = await peer.decisions.cancel(run, "cancel", ROUTING)
    assert ended.status is Status.CANCELLED
    with pytest.raises(LeaseLost):
        await store.work.move(run, send, ROUTING)
    assert (await stored(store, run)).lease_until is None


@pytest.mark.parametrize("how", ["cancel", "delete"])
@pytest.mark.parametrize("status", [Status.SUBMITTING, Status.IN_DOUBT, Status.QUEUED, Status.RUNNING])
async def test_what_the_provider_may_have_is_ended_by_the_loop(
    store: Store, status: Status, how: str
) -> None:
    run = await put_job(store, status=status, cancel_sent=True, due_at=None)
    await store.decisions.cancel(run, how, ROUTING)
    found = await stored(store, run)
    assert (found.status, found.cancel, found.cancel_sent, found.due_at) == (status, how, False, NOW)
    assert await store.views.events() == []


async def test_a_loop_that_writes_does_not_forget_the_cancellation(store: Store) -> None:
    await put_job(store)
    (run,) = await store.work.claim_sends(ACCOUNT, most=1, max_running=None)
    sent = await store.work.move(run, send, ROUTING)
    await store.decisions.cancel(sent, "cancel", ROUTING)
    await store.work.move(sent, adopted, ROUTING)
    found = await stored(store, run)
    assert (found.status, found.cancel) == (Status.RUNNING, "cancel")


@pytest.mark.parametrize("status", [status for status in Status if status.final])
async def test_what_has_ended_cannot_be_cancelled(store: Store, status: Status) -> None:
    run = await put_job(store, status=status)
    assert await store.decisions.cancel(run, "cancel", ROUTING) == run
    assert await stored(store, run) == run


async def test_another_attempt_is_bought_once(store: Store) -> None:
    failed = await put_job(store, status=Status.FAILED)
    second = a_run(attempt=2)
    await store.decisions.add(second, beside=failed)
    assert await stored(store, second) == second
    with pytest.raises(UsageError, match="newer attempt"):
        await store.decisions.add(a_run(attempt=2, id="again"), beside=failed)
    with pytest.raises(UsageError, match="has changed since"):
        await store.decisions.add(a_run(attempt=3), beside=a_run(status=Status.RUNNING))
    assert len(await store.views.history("narrator")) == 2


async def test_a_decision_is_about_the_run_as_it_was_shown(store: Store) -> None:
    run = await put_job(store, status=Status.IN_DOUBT, reason=Reason.PARKED)
    shown = await stored(store, run)
    await store.work.claim_looks(ACCOUNT, most=1)
    with pytest.raises(UsageError, match="has changed since"):
        await store.decisions.move(shown, resend, ROUTING)
    with pytest.raises(UsageError, match="has changed since"):
        await store.decisions.move(a_run(a_job("unknown")), resend, ROUTING)
    assert (await stored(store, run)).status is Status.IN_DOUBT


@pytest.mark.parametrize(
    ("step", "status", "told"),
    [
        (adopted, Status.RUNNING, ["job.submitted", "job.running"]),
        (resend, Status.PENDING, []),
        (partial(finish, status=Status.FAILED, message="given up"), Status.FAILED, ["job.failed"]),
    ],
)
async def test_a_person_settles_a_doubt_whoever_is_looking(
    store: Store, step: Any, status: Status, told: list[str]
) -> None:
    await put_job(store, status=Status.IN_DOUBT, reason=Reason.PARKED, looks=7)
    (looking,) = await store.work.claim_looks(ACCOUNT, most=1)
    moved = await store.decisions.move(looking, step, ROUTING)
    found = await stored(store, looking)
    assert moved == found
    assert (found.status, found.owner, found.lease_until) == (status, None, None)
    assert [event.type for event in await store.views.events()] == told
    with pytest.raises(LeaseLost):
        await store.work.move(looking, partial(doubt, message="not found"), ROUTING)


async def test_sending_again_takes_an_earlier_cancellation_back(store: Store) -> None:
    run = await put_job(store, status=Status.IN_DOUBT, reason=Reason.PARKED)
    await store.decisions.cancel(run, "cancel", ROUTING)
    moved = await store.decisions.move(await stored(store, run), resend, ROUTING)
    assert (moved.status, moved.cancel) == (Status.PENDING, None)
    assert await stored(store, run) == moved


async def test_a_job_takes_over_the_run_of_one_that_left_the_files(store: Store) -> None:
    old, new = a_job("old"), a_job("new")
    run = a_run(old, status=Status.SUCCEEDED)
    await put(store, run, records=[a_record(old)])
    await store.declared.reconcile(lambda *_: _unmanaged("old"), [], ROUTING)
    await store.decisions.take_over(a_record(new, held="why"), run)
    assert (await stored(store, run)).job == "new"
    (standing,) = await store.views.standings()
    assert standing.run is not None
    assert (standing.record, standing.run.id, standing.managed) == (a_record(new), run.id, True)
    with pytest.raises(UsageError):
        await store.decisions.take_over(a_record(new), a_run(old, status=Status.RUNNING))


async def test_a_job_with_other_runs_is_not_forgotten_with_one_of_them(store: Store) -> None:
    old = a_job("old")
    first, second = a_run(old, status=Status.FAILED), a_run(old, attempt=2, status=Status.SUCCEEDED)
    await put(store, first, second, records=[a_record(old)])
    await store.declared.reconcile(lambda *_: _unmanaged("old"), [], ROUTING)
    await store.decisions.take_over(a_record(a_job("new")), second)
    assert [each.record.name for each in await store.views.standings()] == ["new", "old"]
    assert [run.id for run in await store.views.history("old")] == [first.id]


def _unmanaged(name: str) -> Changeset:
    return Changeset(plan=Plan(changes=()), unmanaged=(name,))


async def test_what_the_provider_has_is_imported_with_its_event(store: Store) -> None:
    job = a_job(hooks=("team",))
    fresh = a_run(job)
    await store.decisions.insert_bound(a_record(job), adopted(fresh, NOW + HOUR), ROUTING)
    found = await stored(store, fresh)
    assert (found.status, found.remote_id, found.submitted_at) == (Status.RUNNING, "ft_9", NOW + HOUR)
    assert [event.type for event in await store.views.events()] == ["job.submitted", "job.running"]
    assert len(await store.outbox.log()) == 2
    again = a_run(job, attempt=2)
    with pytest.raises(StoreError, match="is there already"):
        await store.decisions.insert_bound(a_record(job), adopted(again, NOW), ROUTING)
    assert await store.work.by_id(again.id) is None
