"""What an account has to do agrees with what its claims give out."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from core.make import NOW, a_job, a_run

from orchestrator.core.run import Reason, Status
from orchestrator.store.claim import LEASE
from orchestrator.store.store import Store

from .make import ACCOUNT, HOUR, ROUTING, Clock, many, put

LATER = NOW + HOUR


@pytest.mark.parametrize(
    ("changes", "kind", "at"),
    [
        ({}, "sends", NOW),
        ({"due_at": LATER}, "sends", LATER),
        ({"due_at": None}, "sends", NOW),
        ({"owner": "x", "lease_until": LATER}, "sends", LATER),
        ({"status": Status.SUBMITTING, "due_at": None, "owner": "x", "lease_until": LATER}, "looks", LATER),
        ({"status": Status.SUBMITTING, "due_at": None}, "looks", NOW),
        # The clock was put back since it was sent.
        ({"status": Status.SUBMITTING, "due_at": None, "sent_at": LATER, "updated_at": LATER}, "looks", NOW),
        ({"status": Status.IN_DOUBT, "reason": Reason.LOOKING, "due_at": LATER}, "looks", LATER),
        ({"status": Status.IN_DOUBT, "reason": Reason.PARKED}, "looks", NOW),
        ({"status": Status.IN_DOUBT, "reason": Reason.CONFLICT}, None, None),
        ({"status": Status.QUEUED, "steps": {"run": "todo"}}, "calls", NOW),
        ({"status": Status.QUEUED, "steps": {"run": "sent"}, "due_at": LATER}, "calls", LATER),
        ({"status": Status.QUEUED, "steps": {"run": "done"}}, None, None),
        ({"status": Status.RUNNING, "cancel": "cancel"}, "calls", NOW),
        ({"status": Status.RUNNING, "cancel": "cancel", "cancel_sent": True}, None, None),
        ({"status": Status.SUCCEEDED}, None, None),
    ],
)
async def test_each_run_is_due_once_and_can_be_claimed_then(
    store: Store, clock: Clock, changes: dict[str, Any], kind: str | None, at: Any
) -> None:
    await put(store, a_run(**changes))
    due_work = await store.due_work.read(ACCOUNT)
    moments = {"sends": due_work.sends, "looks": due_work.looks, "calls": due_work.calls}
    dues = {name: max(moment, NOW) if moment else None for name, moment in moments.items()}
    assert dues == {name: at if name == kind else None for name in dues}
    clock.now = (at or NOW) + timedelta(microseconds=1)
    claims = {
        "sends": await store.work.claim_sends(ACCOUNT, most=9, max_running=None),
        "looks": await store.work.claim_looks(ACCOUNT, most=9),
        "calls": await store.work.claim_calls(ACCOUNT, most=9),
    }
    assert {name for name, claimed in claims.items() if claimed} == ({kind} if kind else set())
    again = await store.due_work.read(ACCOUNT)
    left = {"sends": again.sends, "looks": again.looks, "calls": again.calls}
    assert not any(again.is_due(moment) for moment in left.values())
    assert {name for name, moment in left.items() if moment == clock.now + LEASE} == (
        {kind} if kind else set()
    )


async def test_an_account_with_nothing_open_is_left_alone(store: Store) -> None:
    empty = await store.due_work.read(ACCOUNT)
    assert (empty.next, empty.wait, empty.poll) == (None, None, None)
    await put(store, a_run(status=Status.RUNNING), a_run(a_job("other", account="oxen")))
    busy = await store.due_work.read(ACCOUNT)
    assert (busy.poll, busy.next, busy.wait) == (NOW, NOW, timedelta(0))
    assert busy.sends is None


async def test_a_full_account_sends_nothing(store: Store) -> None:
    runs = many(3)
    await put(store, runs[0], *(replace(run, status=Status.RUNNING) for run in runs[1:]))
    # Until it is told that it waits for a place; nothing is claimed for that.
    assert not await store.work.claim_sends(ACCOUNT, most=5, max_running=2)
    assert (await store.due_work.read(ACCOUNT, max_running=2)).sends is None
    assert (await store.due_work.read(ACCOUNT, max_running=3)).sends == NOW


async def test_a_run_behind_another_is_not_due(store: Store) -> None:
    first = a_run(a_job("first"), status=Status.RUNNING)
    await put(store, first, a_run(a_job("second"), after=first.id))
    assert (await store.due_work.read(ACCOUNT)).sends is None


async def test_an_account_in_trouble_rests(store: Store, clock: Clock) -> None:
    await store.accounts.declare({ACCOUNT: ACCOUNT})
    await store.accounts.fail(ACCOUNT, "503", until=LATER)
    assert (await store.due_work.read(ACCOUNT)).next is None
    await put(store, *many(1, status=Status.RUNNING))
    due_work = await store.due_work.read(ACCOUNT)
    assert (due_work.failures, due_work.paused, due_work.next, due_work.wait) == (1, False, LATER, HOUR)
    assert not due_work.is_due(NOW)
    clock.forward(HOUR)
    rested = await store.due_work.read(ACCOUNT)
    assert rested.is_due(rested.poll)
    await store.accounts.pause(ACCOUNT, "401", ROUTING, until=LATER + HOUR)
    paused = await store.due_work.read(ACCOUNT)
    assert (paused.paused, paused.next) == (True, LATER + HOUR)
    assert not paused.is_due(None)
