import json
from dataclasses import replace
from datetime import timedelta
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.delivery import (
    LONGEST_WAIT,
    SCHEDULE,
    Delivery,
    DeliveryState,
    Finished,
    Route,
    body,
    fan_out,
    next_try,
    refusal,
    routes_of,
    settled,
    stamp,
    wants,
)
from orchestrator.core.event import DEFAULT_EVENTS, Event, EventType
from orchestrator.core.receiver import Attempt
from orchestrator.core.run import Run, Status
from orchestrator.core.text import clean
from orchestrator.core.transition import finish

from .make import NOW, a_route, a_run

PAUSED = Event(type=EventType.PAUSED, timestamp=NOW, project="acme", account="oxen", message="401", id=8)


def a_success() -> tuple[Event, Run]:
    done = finish(
        a_run(status=Status.RUNNING, sequence=3),
        NOW + timedelta(microseconds=1500),
        status=Status.SUCCEEDED,
        result={"model": "voice_1"},
        word="completed",
    )
    return replace(done.events[0], id=7), done.run


def made(event: Event, run: Run | None, *names: str, current: bool = True) -> tuple[Delivery, ...]:
    numbers = count(1)
    routes = [a_route(name) for name in names]
    return fan_out(event, run, routes, current=current, make_id=lambda: f"msg_{next(numbers)}")


@given(st.integers(1, 10), st.floats(0, 1))
def test_each_wait_of_the_schedule_is_as_long_as_it_says_and_longer_than_the_last(
    failures: int, jitter: float
) -> None:
    due = next_try(failures, NOW, jitter=jitter)
    assert due is not None
    assert SCHEDULE[failures] / 2 <= due - NOW <= SCHEDULE[failures]
    before = next_try(failures - 1, NOW, jitter=jitter)
    assert before is not None
    assert before < due


def test_there_are_eleven_attempts_in_three_days_or_so() -> None:
    assert len(SCHEDULE) == 11
    assert timedelta(hours=75) < sum(SCHEDULE, timedelta()) < timedelta(hours=77)
    assert next_try(11, NOW, jitter=0) is None


@given(st.integers(0, 10), st.floats(0, 1), st.floats(0, allow_nan=False))
def test_what_a_receiver_asks_for_is_a_lower_limit_of_a_day_at_most(
    failures: int, jitter: float, asked: float
) -> None:
    due = next_try(failures, NOW, jitter=jitter, retry_after=asked)
    assert due is not None
    assert timedelta(seconds=min(asked, LONGEST_WAIT.total_seconds())) <= due - NOW <= LONGEST_WAIT


def test_a_hook_hears_of_what_it_wants_and_of_what_stands() -> None:
    event, _ = a_success()
    assert wants(a_route("team"), event, current=True)
    assert not wants(a_route("team"), event, current=False)
    assert wants(a_route("team", *DEFAULT_EVENTS, superseded=True), event, current=False)
    assert not wants(a_route("team", "job.failed"), event, current=True)


@pytest.mark.parametrize(
    ("jobs", "providers", "why"),
    [
        (None, None, None),
        (("narr*", "x"), ("cart?sia",), None),
        (("Narr*",), None, "its jobs (Narr*) do not include narrator"),
        (None, ("oxen", "cohere"), "its providers (oxen, cohere) do not include cartesia"),
    ],
)
def test_a_hook_may_hear_of_some_jobs_and_accounts_alone(
    jobs: tuple[str, ...] | None, providers: tuple[str, ...] | None, why: str | None
) -> None:
    event, _ = a_success()
    assert refusal(replace(a_route("team"), jobs=jobs, providers=providers), event, current=True) == why
    assert refusal(replace(a_route("team"), jobs=("none",)), PAUSED, current=True) is None


def test_a_state_that_must_last_is_due_later() -> None:
    event, run = a_success()
    route = replace(a_route("team"), lasts=timedelta(minutes=5))
    (one,) = fan_out(event, run, [route], make_id=lambda: "msg")
    assert (one.lasting, one.due_at) == (True, event.timestamp + timedelta(minutes=5))


@pytest.mark.parametrize(
    ("attempt", "attempts", "state", "wait"),
    [
        (Attempt(taken=True, text="204"), 3, DeliveryState.DELIVERED, None),
        (Attempt(text="500"), 3, DeliveryState.PENDING, SCHEDULE[3]),
        (Attempt(later=True), 2, DeliveryState.PENDING, SCHEDULE[2]),
        (Attempt(later=True, retry_after=7200), 2, DeliveryState.PENDING, timedelta(hours=2)),
        (Attempt(gone=True, text="410"), 3, DeliveryState.DEAD, None),
    ],
)
def test_an_attempt_settles_a_delivery(
    attempt: Attempt, attempts: int, state: DeliveryState, wait: timedelta | None
) -> None:
    (fresh,) = made(*a_success(), "team")
    claimed = replace(fresh, attempts=2, owner="me", lease_until=NOW, epoch=1)
    found = settled(claimed, attempt, NOW, jitter=1.0)
    assert (found.state, found.attempts, found.last_error) == (state, attempts, attempt.text)
    assert found.due_at == (None if wait is None else NOW + wait)
    assert found.settled_at == (NOW if wait is None else None)
    assert (found.owner, found.lease_until, found.epoch) == (None, None, 1)


def test_what_was_given_back_untried_is_as_before() -> None:
    (fresh,) = made(*a_success(), "team")
    claimed = replace(fresh, owner="me", lease_until=NOW)
    assert settled(claimed, Attempt(unsent=True), NOW, jitter=0.0) == fresh


@pytest.mark.parametrize("attempt", [Attempt(text="500"), Attempt(gone=True), Attempt(retry_after=3600.0)])
def test_a_failure_of_another_table_leaves_all_its_attempts_to_the_new_one(attempt: Attempt) -> None:
    (fresh,) = made(*a_success(), "team")
    old = Finished(delivery=replace(fresh, attempts=10), attempt=attempt, table="one")
    assert not old.by("one").attempt.stale
    failed = settled(old.delivery, old.by("two").attempt, NOW, jitter=1.0)
    assert (failed.state, failed.attempts, failed.due_at) == (DeliveryState.PENDING, 1, NOW + SCHEDULE[1])
    taken = settled(old.delivery, Attempt(taken=True, stale=True), NOW, jitter=1.0)
    assert taken.state == DeliveryState.DELIVERED


def test_the_last_failure_is_the_end() -> None:
    (fresh,) = made(*a_success(), "team")
    last = settled(replace(fresh, attempts=10), Attempt(text="500"), NOW, jitter=0.0)
    assert (last.state, last.attempts) == (DeliveryState.DEAD, 11)


def test_a_body_of_any_length_is_cut_to_what_matters() -> None:
    event, run = a_success()
    long = replace(run, result={"model": "voice_1", "voices": ["x" * 100_000]})
    assert json.loads(body(event, long))["data"]["result"] == {"model": "voice_1"}
    nameless = replace(run, result={"model": None, "voices": ["x" * 100_000]})
    assert json.loads(body(event, nameless))["data"]["result"] == {"model": None}
    half = replace(run, result={"model": "\ud800"})
    assert json.loads(body(event, half))["data"]["result"] == {"model": "?"}


def test_a_hook_that_left_the_files_keeps_the_default_events() -> None:
    known = {"team": a_route("team", "job.running")}
    assert routes_of(["team", "gone", "team"], known) == (known["team"], a_route("gone"))


def test_a_delivery_says_all_that_the_contract_says() -> None:
    event, run = a_success()
    (one, other) = made(event, run, "team", "promote")
    assert (one.id, one.hook, one.lane, one.job, one.event_id) == (
        "msg_1",
        "team",
        "narrator",
        "narrator",
        7,
    )
    assert (one.due_at, one.attempts, one.project) == (event.timestamp, 0, "acme")
    assert one.body == other.body
    assert json.loads(one.body) == {
        "type": "job.succeeded",
        "timestamp": "2026-11-21T09:00:00.001500Z",
        "data": {
            "job": "narrator",
            "provider": "cartesia",
            "status": "succeeded",
            "previous_status": "running",
            "provider_status": "completed",
            "remote_id": "ft_narrator_1",
            "run_id": "run_narrator_cartesia_1",
            "attempt": 1,
            "sequence": 4,
            "current": True,
            "result": {"model": "voice_1"},
            "message": None,
            "submitted_at": "2026-11-21T09:00:00Z",
            "finished_at": "2026-11-21T09:00:00.001500Z",
        },
    }


def test_an_event_of_an_account_has_no_job() -> None:
    (one,) = made(PAUSED, None, "team")
    assert (one.job, one.lane) == (None, "account:oxen")
    data = json.loads(one.body)["data"]
    assert data.pop("provider") == "oxen"
    assert data.pop("message") == "401"
    assert set(data.values()) == {None}


def test_nobody_to_tell_makes_nothing() -> None:
    event, run = a_success()
    assert made(event, run) == ()
    assert made(event, run, "team", current=False) == ()


@given(st.text(max_size=2000))
def test_a_long_message_is_cut_and_nothing_in_it_moves_a_cursor(message: str) -> None:
    event, run = a_success()
    told = json.loads(body(replace(event, message=message), run))["data"]["message"]
    assert (told or "") == clean(message)


def test_what_terminals_heed_is_gone() -> None:
    assert clean("a\x1b[31m\u202eb\u200bc\nd\te\ud800") == "a[31mbc d e"


def test_half_a_surrogate_pair_stops_no_delivery() -> None:
    event, run = a_success()
    odd = replace(run, result={"model": "voice\ud800", "x": "\udfff"})
    assert json.loads(body(event, odd))["data"]["result"]["model"] == "voice?"


@pytest.mark.parametrize(
    ("route", "why"),
    [
        (Route(name="team"), None),
        (Route(name="team", jobs=("narr*",), providers=("cartesia",)), None),
        (Route(name="team", jobs=("other", "[a-n]arrator")), None),
        (Route(name="team", events=("job.failed",)), "its events do not include job.succeeded"),
        (Route(name="team", jobs=("voice-*", "x")), "its jobs (voice-*, x) do not include narrator"),
        (Route(name="team", jobs=("NARR*",)), "its jobs (NARR*) do not include narrator"),
        (Route(name="team", providers=("oxen",)), "its providers (oxen) do not include cartesia"),
    ],
)
def test_a_hook_lets_through_what_its_table_says(route: Route, why: str | None) -> None:
    event, _ = a_success()
    assert refusal(route, event, current=True) == why
    assert wants(route, event, current=True) is (why is None)


def test_an_account_has_no_job_that_could_be_left_out() -> None:
    assert refusal(Route(name="team", jobs=("narr*",)), PAUSED, current=True) is None
    assert refusal(Route(name="team", providers=("cart*",)), PAUSED, current=True) is not None


def a_delivery(attempts: int = 0) -> Delivery:
    (one,) = made(*a_success(), "team")
    return replace(one, attempts=attempts, owner="me", lease_until=NOW)


def test_a_failure_is_due_again_by_the_schedule() -> None:
    done = settled(a_delivery(2), Attempt(text="x" * 9000, retry_after=400), NOW, jitter=1)
    assert (done.state, done.attempts, done.settled_at) == (DeliveryState.PENDING, 3, None)
    assert done.due_at == NOW + timedelta(seconds=400)
    assert len(done.last_error or "") == 2000


def test_each_later_try_that_is_asked_for_waits_longer_and_counts_as_no_attempt() -> None:
    one, waits = a_delivery(0), []
    for _ in range(len(SCHEDULE) + 2):
        one = settled(one, Attempt(later=True), NOW, jitter=1)
        assert (one.state, one.attempts) == (DeliveryState.PENDING, 0)
        waits.append(one.due_at and one.due_at - NOW)
    assert waits == [*SCHEDULE[1:], *[SCHEDULE[-1]] * 3]


def test_a_failure_after_later_tries_goes_by_the_failures_alone() -> None:
    patient = replace(a_delivery(1), deferrals=7)
    done = settled(patient, Attempt(text="exit 1"), NOW, jitter=1)
    assert (done.attempts, done.due_at) == (2, NOW + SCHEDULE[2])


def test_a_later_try_counts_as_none() -> None:
    done = settled(a_delivery(10), Attempt(later=True), NOW, jitter=1)
    assert (done.state, done.attempts, done.due_at) == (DeliveryState.PENDING, 10, NOW + SCHEDULE[10])


@pytest.mark.parametrize(
    ("moment", "text"), [(None, None), (NOW, "2026-11-21T09:00:00Z")], ids=["none", "whole"]
)
def test_stamp(moment: None, text: str | None) -> None:
    assert stamp(moment) == text
