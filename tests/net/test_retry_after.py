"""Retry-After in all its forms, and quotas that are spent."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.net.retry_after import LONGEST, quota_wait, retry_after

NOW = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("", None),
        ("0", 0.0),
        ("120", 120.0),
        (" 7 ", 7.0),
        ("1.5", 1.5),
        ("-1", None),
        ("-5", None),
        ("+5", None),
        ("soon", None),
        ("1e9", None),
        ("nan", None),
        ("inf", None),
        ("٣", None),
        ("86401", LONGEST),
        ("9" * 10_000, LONGEST),
        ("000000000012", 12.0),
        (format_datetime(NOW + timedelta(minutes=5), usegmt=True), 300.0),
        (format_datetime(NOW - timedelta(days=5), usegmt=True), 0.0),
        (format_datetime(NOW + timedelta(days=900), usegmt=True), LONGEST),
        ("Fri, 31 Dec 9999 23:59:59 GMT", LONGEST),
        ("Sat, 21 Nov 2026 09:01:00 -0000", 60.0),
        ("Sat, 99 Nov 2026 09:01:00 GMT", None),
        ("Fri, 99 Foo 2026 99:99:99 GMT", None),
        ("Sat, 21 Nov 99999999999 09:01:00 GMT", None),
    ],
)
def test_it_is_read_as_seconds_or_as_a_date(value: str, seconds: float | None) -> None:
    assert retry_after({"retry-after": value}, NOW) == seconds
    skewed = {"retry-after": value, "date": format_datetime(NOW, usegmt=True)}
    assert retry_after(skewed, NOW + timedelta(hours=3)) == seconds


def test_without_any_clock_it_is_ours() -> None:
    soon = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)
    assert retry_after({"retry-after": soon}) == pytest.approx(3600, abs=120)
    assert retry_after({}) is None


@given(st.text())
def test_any_header_is_survived(value: str) -> None:
    for found in (retry_after({"retry-after": value}, NOW), quota_wait({"ratelimit": value})):
        assert found is None or 0 <= found <= LONGEST


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ('"default";r=50;t=30', 0),
        ('"default";r=0;t=30', 30),
        ('"a";r=0;t=5, "b";r=0;t=9', 9),
        ("", 0),
        ('"default";r=0;t=999999999', LONGEST),
    ],
)
def test_a_quota_that_is_spent(value: str, seconds: float) -> None:
    assert quota_wait({"ratelimit": value}) == seconds
