from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.admission import AccountLimits, Candidate, Wait, admit, admit_all
from orchestrator.core.run import OPEN, Reason, Status

from .make import NOW

MOMENTS = st.sampled_from([None, NOW - timedelta(hours=1), NOW, NOW + timedelta(hours=1)])
ACCOUNTS = st.builds(
    AccountLimits,
    open=st.integers(0, 6),
    max_running=st.one_of(st.none(), st.integers(0, 6)),
    paused=st.sampled_from([None, "the key was refused"]),
    rests_until=MOMENTS,
)
CANDIDATES = st.builds(
    Candidate,
    id=st.uuids().map(str),
    status=st.sampled_from([Status.PENDING, Status.PENDING, Status.PENDING, *Status]),
    due_at=MOMENTS,
    after=st.sampled_from([None, "run_before"]),
    after_status=st.one_of(st.none(), st.sampled_from(Status)),
)


@given(CANDIDATES, ACCOUNTS)
def test_what_starts_is_pending_and_due_and_waits_for_no_other_run(
    run: Candidate, account: AccountLimits
) -> None:
    if admit(run, account, NOW) != "start":
        return
    assert run.status is Status.PENDING
    assert run.due_at is None or run.due_at <= NOW
    assert run.after is None or run.after_status is None or run.after_status.final
    assert account.max_running is None or account.open < account.max_running
    assert account.rests_until is None or account.rests_until <= NOW


@given(CANDIDATES, ACCOUNTS)
def test_what_waits_is_told_why_in_words_and_starts_once_nothing_is_in_its_way(
    run: Candidate, account: AccountLimits
) -> None:
    verdict = admit(run, account, NOW)
    assert isinstance(verdict, Wait) == (verdict != "start")
    if isinstance(verdict, Wait):
        assert verdict.message
    free = replace(run, status=Status.PENDING, due_at=None, after=None)
    assert admit(free, AccountLimits(), NOW) == "start"


@given(st.lists(CANDIDATES, max_size=12, unique_by=lambda run: run.id), ACCOUNTS, st.integers(0, 6))
def test_no_batch_takes_more_room_than_there_is_and_the_oldest_come_first(
    runs: list[Candidate], account: AccountLimits, most: int
) -> None:
    found = admit_all(runs, account, NOW, most=most)
    order = [run.id for run in runs]
    assert list(found.start) == sorted(found.start, key=order.index)
    assert len(found.start) <= most
    if account.max_running is not None and found.start:
        assert account.open + len(found.start) <= account.max_running
    waiting = dict(found.waits)
    assert not waiting.keys() & set(found.start)
    if len(found.start) < most:
        assert set(order) == waiting.keys() | set(found.start)
    # A run that waits for room is never passed by one that is younger.
    limited = [order.index(name) for name, wait in found.waits if wait.reason is Reason.LIMIT]
    assert not limited or all(order.index(name) < min(limited) for name in found.start)


@pytest.mark.parametrize("status", sorted(OPEN))
def test_a_replacement_waits_for_the_run_that_it_replaces(status: Status) -> None:
    run = Candidate(id="run_2", after="run_1", after_status=status)
    assert admit(run, AccountLimits(), NOW) == Wait(
        Reason.NEEDS, "it is sent once run_1, which it replaces, has ended"
    )
    assert admit(replace(run, after_status=Status.CANCELLED), AccountLimits(), NOW) == "start"


def test_a_paused_account_rests_and_is_then_tried() -> None:
    account = AccountLimits(paused="the key was refused", rests_until=NOW + timedelta(seconds=1))
    verdict = admit(Candidate(id="run_1"), account, NOW)
    assert verdict == Wait(Reason.CREDENTIALS, "the key was refused")
    assert admit(Candidate(id="run_1"), account, NOW + timedelta(seconds=1)) == "start"
