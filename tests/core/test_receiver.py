"""What attempts tell of a hook and of its origin."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.receiver import (
    FLAGGED_AT,
    OFF_AFTER,
    OPENS_AT,
    PROBE_AFTER,
    Attempt,
    Breaker,
    HookHealth,
    heard,
    rested,
)

from .make import NOW

TEAM = HookHealth(name="team", origin="https://example.com:443", digest="d")
TAKEN = Attempt(taken=True, text="HTTP 200")
LATER = Attempt(later=True, text="asked to be tried again later")
DOWN = Attempt(down=True, code=503, text="HTTP 503")
MISSING = Attempt(code=404, text="HTTP 404")
MINUTE = timedelta(minutes=1)


def after(*attempts: Attempt, health: HookHealth = TEAM, start: datetime = NOW) -> HookHealth:
    """Return how a hook stands after attempts that are a minute apart."""
    for number, attempt in enumerate(attempts):
        health = heard(health, attempt, start + number * MINUTE)
    return health


def test_a_success_forgets_all_failures() -> None:
    failing = after(MISSING, DOWN)
    assert (failing.failing_since, failing.answer, failing.code) == (NOW, "HTTP 503", 503)
    assert heard(failing, TAKEN, NOW + MINUTE) == TEAM


def test_a_later_try_is_no_failure() -> None:
    assert after(LATER) == TEAM
    assert after(MISSING, LATER) == after(MISSING)


def test_what_was_given_back_untried_tells_nothing() -> None:
    unsent = Attempt(unsent=True)
    assert after(MISSING, unsent) == after(MISSING)
    assert rested(opened(), unsent, NOW) == opened()


def test_what_came_of_another_table_tells_nothing() -> None:
    stale = [replace(one, stale=True) for one in (DOWN, MISSING, TAKEN, Attempt(gone=True, code=410))]
    assert after(MISSING, *stale) == after(MISSING)
    assert {rested(opened(), one, NOW) for one in stale} == {opened()}


def test_a_success_shows_that_a_hook_works_here() -> None:
    assert after(TAKEN, health=replace(TEAM, unfit="the environment variable X is not set")) == TEAM


def test_equal_refusals_in_a_row_are_flagged() -> None:
    assert not after(*[MISSING] * (FLAGGED_AT - 1)).flagged
    assert after(*[MISSING] * FLAGGED_AT).flagged
    assert not after(MISSING, MISSING, replace(MISSING, code=401)).flagged
    assert not after(MISSING, MISSING, DOWN, MISSING).flagged
    assert not after(*[replace(DOWN, code=429)] * FLAGGED_AT).flagged
    assert not after(*[Attempt(code=500)] * FLAGGED_AT).flagged
    assert not after(*[Attempt(text="exit 1")] * FLAGGED_AT).flagged


def test_410_switches_off_at_once_and_once() -> None:
    gone = Attempt(gone=True, code=410, text="HTTP 410: bye")
    off = after(gone)
    assert (off.off, off.off_at) == ("the receiver asked for no more deliveries: HTTP 410: bye", NOW)
    again = heard(off, gone, NOW + MINUTE)
    assert (again.off, again.off_at) == (off.off, NOW)
    assert heard(off, TAKEN, NOW + MINUTE).off is not None


def test_five_days_of_failures_alone_switch_off() -> None:
    failing = after(DOWN)
    almost = heard(failing, DOWN, NOW + OFF_AFTER - timedelta(microseconds=1))
    assert almost.off is None
    off = heard(almost, DOWN, NOW + OFF_AFTER)
    assert off.off == "failing for 5 days: HTTP 503"
    recovered = heard(almost, TAKEN, NOW + OFF_AFTER)
    assert heard(recovered, DOWN, NOW + OFF_AFTER + MINUTE).off is None


def opened(failures: int = OPENS_AT, last: Attempt = DOWN) -> Breaker:
    breaker = Breaker()
    for _ in range(failures - 1):
        breaker = rested(breaker, DOWN, NOW)
    return rested(breaker, last, NOW)


def test_an_origin_rests_after_troubles_in_a_row() -> None:
    assert opened(OPENS_AT - 1) == Breaker(failures=OPENS_AT - 1)
    breaker = opened()
    assert breaker.rests(NOW + PROBE_AFTER - timedelta(microseconds=1))
    assert not breaker.rests(NOW + PROBE_AFTER)
    assert rested(breaker, DOWN, NOW + PROBE_AFTER).rests(NOW + PROBE_AFTER + MINUTE / 2)


@pytest.mark.parametrize(
    "attempt", [TAKEN, LATER, MISSING, Attempt(text="exit 1"), Attempt(gone=True, code=410)]
)
def test_any_answer_that_is_no_trouble_ends_the_rest(attempt: Attempt) -> None:
    assert rested(opened(), attempt, NOW) == Breaker()
    assert rested(opened(OPENS_AT - 1), attempt, NOW) == Breaker()


@given(st.none() | st.floats(0, allow_nan=False))
def test_what_the_receiver_asks_for_is_a_lower_limit_of_a_day_at_most(asked: float | None) -> None:
    until = opened(last=replace(DOWN, retry_after=asked)).open_until
    assert until is not None
    assert until - NOW == max(PROBE_AFTER, timedelta(seconds=min(asked or 0.0, 86_400.0)))
