"""Durations: strict, bounded, and written as they are read."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.config.duration import parse, show


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ("500ms", timedelta(milliseconds=500)),
        ("90s", timedelta(seconds=90)),
        ("15m", timedelta(minutes=15)),
        ("2h30m", timedelta(hours=2, minutes=30)),
        ("1d", timedelta(days=1)),
        ("365d", timedelta(days=365)),
        ("1d2h3m4s5ms", timedelta(days=1, hours=2, minutes=3, seconds=4, milliseconds=5)),
        ("0s", timedelta()),
    ],
)
def test_what_is_read(text: str, length: timedelta) -> None:
    assert parse(text) == length


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "8",
        "90 s",
        " 90s",
        "90s ",
        "90S",
        "1.5h",
        "-1s",
        "+1s",
        "30m2h",
        "1h1h",
        "1w",
        "s",
        "1s\n",
        "٣s",
        "1_0s",
        "1e3s",
        "366d",
        "8761h",
        "364d25h",
        "999999999d",
        "9" * 5000 + "s",
        "PT5M",
    ],
)
def test_what_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected a duration|at most 365d"):
        parse(text)


@given(st.integers(min_value=0, max_value=365 * 86_400_000))
def test_what_is_written_is_read_again(milliseconds: int) -> None:
    length = timedelta(milliseconds=milliseconds)
    assert parse(show(length)) == length


@given(st.text(max_size=30))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        length = parse(text)
    except ValueError:
        return
    assert timedelta() <= length <= timedelta(days=365)


def test_what_is_shown() -> None:
    assert show(timedelta(hours=2, minutes=30)) == "2h30m"
    assert show(timedelta()) == "0s"
    assert show(timedelta(seconds=1, microseconds=7)) == "1s"
