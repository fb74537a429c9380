"""Answers made fit to be shown, and Retry-After in all its forms."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.hooks._reply import KEPT, clean, retry_after

NOW = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)
DAY = 86400.0


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        (b"fine", "fine"),
        (b"two\r\nlines\tand  more", "two lines and more"),
        (b"\x1b[31mred\x1b[0m", "red"),
        (b"\x1b]8;;http://evil\x07link\x1b]8;;\x07", "link"),
        (b"\x1b]0;title\x1b\\x", "x"),
        (b"a\x00b\x07c\x7f\x9b", "abc\ufffd"),
        ("a\u202eb\u200bc\u2066d\ufeff".encode(), "abcd"),
        ("one\u2028two\x85three".encode(), "one two three"),
        ("grüße 你好".encode(), "grüße 你好"),
        (b"my whsec_abcDEF123+/== is out", "my whsec_*** is out"),
        (b"token=hun\x1b[0mter2", "token=***"),
    ],
)
def test_only_what_can_be_seen_is_left(raw: bytes, shown: str) -> None:
    assert clean(raw, hide=["hunter2"]) == shown


@given(st.binary(max_size=5000))
def test_any_bytes_become_one_short_line(raw: bytes) -> None:
    text = clean(raw)
    assert len(text.encode()) <= KEPT
    assert text.isprintable() or all(c.isprintable() or c.isspace() for c in text)
    assert "\n" not in text
    assert "\x1b" not in text


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("", None),
        ("0", 0.0),
        ("120", 120.0),
        (" 7 ", 7.0),
        ("1.5", 1.5),
        ("-5", None),
        ("+5", None),
        ("soon", None),
        ("1e9", None),
        ("٣", None),
        ("86401", DAY),
        ("9" * 10_000, DAY),
        ("000000000012", 12.0),
        (format_datetime(NOW + timedelta(minutes=5), usegmt=True), 300.0),
        (format_datetime(NOW - timedelta(days=5), usegmt=True), 0.0),
        (format_datetime(NOW + timedelta(days=900), usegmt=True), DAY),
        ("Sat, 21 Nov 2026 09:01:00 -0000", 60.0),
        ("Sat, 99 Nov 2026 09:01:00 GMT", None),
        ("Sat, 21 Nov 99999999999 09:01:00 GMT", None),
    ],
)
def test_retry_after(value: str | None, seconds: float | None) -> None:
    assert retry_after(value, NOW) == seconds


@given(st.text(max_size=60))
def test_no_retry_after_breaks_it(value: str) -> None:
    seconds = retry_after(value, NOW)
    assert seconds is None or 0 <= seconds <= DAY
