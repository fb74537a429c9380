"""Answers made fit to be shown."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.hooks._reply import KEPT, clean


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
