from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.cadence import CLOSER, FAR_AT_LEAST, FEWEST, SHARE, Usual, lag, lags, learn, pace

from .make import NOW

SECOND, HOUR = timedelta(seconds=1), timedelta(hours=1)
INTERVAL = timedelta(seconds=30)
LENGTHS = st.lists(st.timedeltas(SECOND, timedelta(days=30)), min_size=FEWEST, max_size=200)


def test_a_few_runs_teach_nothing() -> None:
    assert learn({"sonic-3": [HOUR] * (FEWEST - 1), "sonic-2": []}) == {}


@given(LENGTHS)
def test_most_runs_end_within_their_usual_end_and_none_is_far(took: list[timedelta]) -> None:
    usual = learn({"sonic-3": took})["sonic-3"]
    within = [length for length in took if usual.begins <= length <= usual.ends]
    assert len(within) >= len(took) * 0.75
    assert usual.longest == max(took)
    assert usual.far >= usual.longest + FAR_AT_LEAST


def test_one_odd_run_does_not_widen_the_usual_end() -> None:
    usual = learn({"sonic-3": [3 * HOUR] * 19 + [90 * HOUR]})["sonic-3"]
    assert (usual.begins, usual.ends) == (2.7 * HOUR, 3.3 * HOUR)
    assert usual.far == 270 * HOUR


def test_several_are_held_by_the_one_over_them() -> None:
    short, long = (
        Usual(begins=1 * HOUR, ends=2 * HOUR, longest=9 * HOUR),
        Usual(begins=3 * HOUR, ends=4 * HOUR, longest=5 * HOUR),
    )
    assert Usual.over([short, long]) == Usual(begins=HOUR, ends=4 * HOUR, longest=9 * HOUR)


@given(st.timedeltas(SECOND, HOUR), st.booleans(), st.integers(0, 2000), st.floats(0.01, 1000))
def test_looking_stays_within_its_share_of_the_budget(
    interval: timedelta, near_end: bool, requests: int, per_second: float
) -> None:
    gap = pace(interval, near_end=near_end, requests=requests, per_second=per_second)
    assert requests / gap.total_seconds() <= per_second * SHARE + 0.001
    assert gap >= min(interval / CLOSER, interval)
    free = pace(interval, near_end=near_end, requests=0, per_second=per_second)
    assert free <= interval
    assert not near_end or free <= max(interval / CLOSER, SECOND)


@pytest.mark.parametrize(
    ("since", "late", "alarm"),
    [(0, 0, False), (30, 0, False), (31, 1, False), (90, 60, False), (91, 61, True)],
)
def test_a_look_is_late_from_its_interval_and_too_late_from_three(since: int, late: int, alarm: bool) -> None:
    confirmed = NOW - since * SECOND
    assert lag(confirmed, INTERVAL, NOW) == late * SECOND
    assert lags(confirmed, INTERVAL, NOW) is alarm


def test_what_was_never_seen_is_not_late() -> None:
    assert lag(None, INTERVAL, NOW) is None
    assert not lags(None, INTERVAL, NOW)
