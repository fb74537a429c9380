from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.schedule import (
    FIRST_BACKOFF,
    LATER_LOOKS,
    LEAST_THROTTLE,
    LONGEST_BACKOFF,
    SEND_DEADLINE,
    back_off,
    next_look,
    next_poll,
    verdict_after,
)

from .make import NOW

WINDOW = timedelta(minutes=15)
DRAWS = st.floats(0, 1)
DAY = timedelta(days=1)


@given(st.integers(1, 10_000), DRAWS, st.sampled_from([FIRST_BACKOFF, LEAST_THROTTLE]))
def test_a_failing_account_is_left_alone_ever_longer_within_bounds(
    failures: int, jitter: float, least: timedelta
) -> None:
    wait = back_off(failures, NOW, jitter=jitter, least=least) - NOW
    assert least / 2 <= wait <= LONGEST_BACKOFF
    assert back_off(failures + 1, NOW, jitter=jitter, least=least) - NOW >= wait


def test_the_draw_shortens_a_wait_by_half_at_most() -> None:
    assert back_off(2, NOW, jitter=1) - NOW == FIRST_BACKOFF * 2
    assert back_off(2, NOW, jitter=0) - NOW == FIRST_BACKOFF


@given(st.integers(0, 20), DRAWS, st.floats(0, allow_nan=False))
def test_what_the_provider_asks_for_is_a_lower_limit_of_a_day_at_most(
    failures: int, jitter: float, asked: float
) -> None:
    wait = back_off(failures, NOW, jitter=jitter, retry_after=asked) - NOW
    assert min(timedelta(seconds=min(asked, 1e6)), DAY) <= wait <= DAY


@given(st.integers(0, 50), st.integers(0, 3600), st.integers(0, 86_400))
def test_a_look_falls_right_after_the_window_closes(looks: int, waited: int, window: int) -> None:
    sent_at = NOW - timedelta(seconds=waited)
    length = timedelta(seconds=window)
    look = next_look(looks, NOW, sent_at=sent_at, window=length)
    closes = verdict_after(sent_at, length)
    assert NOW <= look <= NOW + LATER_LOOKS
    assert look <= closes or closes <= NOW


@pytest.mark.parametrize(("looks", "seconds"), [(0, 0), (1, 15), (2, 60), (3, 300), (4, 930), (99, 930)])
def test_the_first_looks_come_quickly(looks: int, seconds: int) -> None:
    expected = min(timedelta(seconds=seconds), LATER_LOOKS)
    assert next_look(looks, NOW, sent_at=NOW, window=WINDOW) - NOW == expected


def test_no_verdict_before_the_latest_moment_at_which_the_request_may_show() -> None:
    assert verdict_after(NOW, WINDOW) == NOW + SEND_DEADLINE + WINDOW


@given(DRAWS)
def test_a_poll_is_never_later_than_its_interval(jitter: float) -> None:
    interval = timedelta(seconds=30)
    assert interval * 0.9 <= next_poll(NOW, interval, jitter=jitter) - NOW <= interval
