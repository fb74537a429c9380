"""Bounded, strict reading, and the rate limit of an account."""

import contextlib
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.config.manifest import AccountOptions
from orchestrator.core.text import clean
from orchestrator.errors import Misread
from orchestrator.providers import _read
from orchestrator.providers._http import DEADLINE
from orchestrator.providers._limit import Limiter

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(JSON)
def test_json_is_read_as_it_is(value: Any) -> None:
    assert _read.parse(json.dumps(value).encode()) == value


@given(st.binary() | st.text(alphabet='[]{}",:0123456789eE-+. \\untrfals').map(str.encode))
def test_any_bytes_are_read_or_misread(body: bytes) -> None:
    with contextlib.suppress(Misread):
        _read.parse(body)


@given(JSON)
def test_words_are_found_in_anything(value: Any) -> None:
    assert isinstance(_read.error_text(value), str)


@given(st.text(), st.integers(min_value=1, max_value=600))
def test_clean_text_is_printable_and_short(text: str, cap: int) -> None:
    cleaned = clean(text, cap)
    assert len(cleaned) <= cap
    assert not any(ord(char) < 32 or 127 <= ord(char) < 160 for char in cleaned)
    assert not set(cleaned) & set("\u200b\u200e\u200f\u202a\u202e\u2066\u2069\ufeff\u2028")
    cleaned.encode()


@pytest.mark.parametrize("value", ["a", "ft_1", "a.b:c-d", "x" * 128, "..."])
def test_an_id_of_a_known_form(value: str) -> None:
    assert _read.remote_id(value) == value


@pytest.mark.parametrize(
    "value", ["", ".", "..", "a/b", "../x", "a b", "a\n", "ä", "x" * 129, "a%2f", "a?b", None, 1, [], True]
)
def test_an_id_that_goes_into_no_path(value: object) -> None:
    with pytest.raises(Misread):
        _read.remote_id(value)


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("2026-11-21T12:00:00Z", datetime(2026, 11, 21, 12, tzinfo=UTC)),
        ("2026-11-21T12:00:00.123456789Z", datetime(2026, 11, 21, 12, 0, 0, 123456, tzinfo=UTC)),
        ("2026-11-21T14:00:00+02:00", datetime(2026, 11, 21, 12, tzinfo=UTC)),
        ("2026-11-21T12:00:00", datetime(2026, 11, 21, 12, tzinfo=UTC)),
        ("0001-01-01T00:00:00+23:59", None),
        ("soon", None),
        (None, None),
        (1795262400, datetime(2026, 11, 21, 12, tzinfo=UTC)),
        (1795262400.5, datetime(2026, 11, 21, 12, 0, 0, 500000, tzinfo=UTC)),
        (10**18, None),
        (-1, None),
        (0, None),
        (True, None),
    ],
)
def test_a_moment(value: object, found: datetime | None) -> None:
    assert _read.moment(value) == found


def test_the_first_moment_that_is_one_counts() -> None:
    assert _read.moment(None, "2026-11-21T12:00:00Z") == datetime(2026, 11, 21, 12, tzinfo=UTC)


class Clock:
    """A monotonic clock that moves when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


async def test_a_burst_then_the_rate() -> None:
    clock = Clock()
    limiter = Limiter(10.0, clock=clock, sleep=clock.sleep)
    for _ in range(25):
        assert await limiter.wait(60) == 0
    assert sum(seconds > 0.01 for seconds in clock.slept) == 20
    assert clock.now - 1000 == pytest.approx(2.0)


async def test_a_slow_rate_has_no_burst() -> None:
    clock = Clock()
    limiter = Limiter(0.1, clock=clock, sleep=clock.sleep)
    assert await limiter.wait(5) == 0
    assert await limiter.wait(5) == pytest.approx(10)
    clock.now += 10
    assert await limiter.wait(5) == 0


async def test_the_slowest_rate_lets_a_listing_go_on() -> None:
    """Were a turn further away than a request waits for it, no second page would ever be read."""
    clock = Clock()
    slowest = AccountOptions.model_json_schema()["properties"]["requests_per_second"]["anyOf"][0]["minimum"]
    limiter = Limiter(slowest, clock=clock, sleep=clock.sleep)
    assert [await limiter.wait(DEADLINE / 3) for _ in range(3)] == [0, 0, 0]


async def test_a_push_back_holds_and_leaves_no_burst() -> None:
    clock = Clock()
    limiter = Limiter(10.0, clock=clock, sleep=clock.sleep)
    limiter.push_back(30)
    assert await limiter.wait(20) == pytest.approx(30)
    assert await limiter.wait(40) == 0
    assert clock.now == pytest.approx(1030)
    assert await limiter.wait(40) == 0
    assert clock.now == pytest.approx(1030.1)


async def test_a_push_back_holds_for_one_that_sleeps() -> None:
    clock = Clock()

    async def sleep(seconds: float) -> None:
        await clock.sleep(seconds)
        if len(clock.slept) == 1:
            limiter.push_back(50)

    limiter = Limiter(1.0, clock=clock, sleep=sleep)
    assert await limiter.wait(100) == 0
    assert await limiter.wait(100) == 0
    assert clock.now >= 1051


async def test_nobody_waits_longer_than_allowed() -> None:
    clock = Clock()
    limiter = Limiter(1.0, clock=clock, sleep=clock.sleep)
    waits = [await limiter.wait(0.5) for _ in range(100)]
    assert waits.count(0) == 1
    assert clock.slept == []
