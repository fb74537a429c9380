"""Places: every key and value of a document that tomllib accepts is found where it stands."""

import math
import tomllib
from collections.abc import Iterator
from datetime import UTC, date, datetime, time
from pathlib import Path

import pytest
import tomlkit
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.config.decode import leaves
from orchestrator.config.locate import Path as KeyPath
from orchestrator.config.locate import places, position

EVERYTHING = '''\
# a comment = "x"
title = "one"   # and another [x]
"quo.ted" = 'lit#eral'
'' = 1
"t\\u0061b" = 2
a.b . "c.d" = 3
 indented=1_000
when = 1979-05-27 07:32:00.5
then = 1979-05-27T07:32:00Z
at = 07:32:00
nothing = [ ]
empty = { }
text = """
[not.a.table]
key = "no" \\"""
two quotes: "" end""""
raw = \'\'\'
x = 'y' ''\'\'\'
list = [ # comment ]
  1, 2.5,
  "]", # another ]
  [ 3, { deep = [ true ], "q" = -inf } ],
]
inline = { x = 1, y.z = "}", w = [ { v = """a}""" } ] }

[table]
k = 1

[ table . "sub.x" . 'y' ]
k = 2

[[array]]
k = 3
[array.inner]
k = 4
[[array.more]]
k = 5
[[array.more]]
k = 6

[[array]]
k = 7
[[array.more]]
k = 8

[late.child]
k = 9
[late]
k = 10
'''


def check(text: str) -> None:
    """Read every scalar again from its place, and every key."""
    document = tomllib.loads(text)
    found = places(text)
    for path, value in [*leaves(document, ()), *tables(document)]:
        place = found[path]
        key = path[-1]
        if isinstance(key, str):
            assert key_at(text, place.key) == key
        if not isinstance(value, dict | list):
            assert value_at(text, place.value, value)


def tables(value: object, path: KeyPath = ()) -> Iterator[tuple[KeyPath, object]]:
    """Walk over everything that holds something."""
    children = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    )
    for key, inner in children:
        if isinstance(inner, dict | list):
            yield (*path, key), inner
            yield from tables(inner, (*path, key))


def key_at(text: str, offset: int) -> str:
    """Let tomllib itself read the key that begins at `offset`."""
    line = text[offset:].split("\n")[0]
    for end in range(1, len(line) + 1):
        try:
            document = tomllib.loads(f"{line[:end]} = 0")
        except tomllib.TOMLDecodeError:
            continue
        # the longest first part: a bare key could end earlier
        if end == len(line) or line[end] in " \t.=]":
            return next(iter(document))
    raise AssertionError(line)


def value_at(text: str, offset: int, value: object) -> bool:
    """Let tomllib itself read the value that begins at `offset`."""
    for end in range(len(text), offset, -1):
        try:
            read = tomllib.loads(f"k = {text[offset:end]}")["k"]
        except (tomllib.TOMLDecodeError, ValueError):
            continue
        return read == value or (isinstance(value, float) and math.isnan(value) and math.isnan(read))
    return False


def test_every_form() -> None:
    check(EVERYTHING)
    found = places(EVERYTHING)
    where = {
        ("title",): (2, 9),
        ("list", 3, 1, "deep", 0): (22, 19),
        ("inline", "y", "z"): (24, 25),
        ("array", 1, "more", 0, "k"): (44, 5),
        ("late", "child", "k"): (47, 5),
    }
    assert {path: position(EVERYTHING, found[path].value) for path in where} == where
    headers = {("table",): (26, 2), ("array", 1): (41, 1), ("late",): (48, 2), ("array", 0, "inner"): (34, 8)}
    assert {path: position(EVERYTHING, found[path].key) for path in headers} == headers


def test_the_example() -> None:
    check((Path(__file__).parents[2] / "jobs.example.toml").read_text())


KEYS = st.text(max_size=8) | st.sampled_from(["a", "b", "a.b", 'q"', "'", "\\", "#", "=", "]", "\n"])
SCALARS = (
    st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
    | st.sampled_from(['"""', "'''", "a\nb", "\\", "# no comment", "[x]", "}"])
    | st.dates(date(1000, 1, 1))
    | st.times().map(lambda moment: time(moment.hour, moment.minute, moment.second))
    | st.datetimes(datetime(1000, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001  # bounds of the strategy are naive by its rule
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=12,
)


@given(st.dictionaries(KEYS, VALUES, max_size=4))
def test_every_scalar_of_any_document_is_placed(document: dict[str, object]) -> None:
    text = tomlkit.dumps(document).replace("\r\n", "\n")
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return  # tomlkit writes some that are not TOML; what tomllib refuses never comes here
    check(text)


@pytest.mark.parametrize(("offset", "place"), [(0, (1, 1)), (1, (1, 2)), (2, (2, 1)), (4, (3, 1))])
def test_positions_count_from_one(offset: int, place: tuple[int, int]) -> None:
    assert position("a\nb\nc", offset) == place
