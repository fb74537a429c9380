"""Files as a whole: size, encoding, depth and form are judged before and while they are parsed."""

import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.config.source import DEEPEST, LARGEST, Source, measure, read
from orchestrator.errors import Code, Problem

from .files import JOB, loaded, problems, write


def test_bom_and_windows_newlines() -> None:
    assert list(loaded(b"\xef\xbb\xbf" + JOB.replace("\n", "\r\n").encode()).jobs) == ["a"]


def test_places_after_bom_and_windows_newlines() -> None:
    assert problems(b"\xef\xbb\xbf# x\r\njbos = 1\r\n") == [
        'jobs.toml:2:1: jbos: unknown key, did you mean "jobs"?'
    ]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"a = 'x\xff'", "jobs.toml:1:7: not UTF-8 text"),
        (b"# a\n\xc3(", "jobs.toml:2:1: not UTF-8 text"),
        ("a = 1".encode("utf-16"), "jobs.toml:1:1: not UTF-8 text"),
        (b"a = 1\nb = ", "jobs.toml:2:5: not TOML: Invalid value"),
        (b"a = 1\nb = en", "jobs.toml:2:5: not TOML: text must stand in quotes"),
        (b"a = 1\n\nb c", "jobs.toml:3:3: not TOML: Expected '=' after a key in a key/value pair"),
        (b'a = "x', "jobs.toml:1:7: not TOML: Unterminated string"),
        (b"a = 1\na = 2", "jobs.toml:2:1: a: already defined at jobs.toml:1"),
        (b"[a]\n\n[b]\n[ a ]", "jobs.toml:4:3: a: already defined at jobs.toml:1"),
        (b"[a.b]\n[a]\nx = { y = 1, y = 2 }", "jobs.toml:3:14: a.x.y: already defined at jobs.toml:3"),
        (b"a.b = 1\n[a]", "jobs.toml:2:2: a: already defined at jobs.toml:1"),
        (
            b"a = {}\n[a.b]\nc = 1",
            "jobs.toml:2:4: a.b: a is already defined at jobs.toml:1, and nothing can be added to it here",
        ),
        (
            b"a = []\n[[a]]",
            "jobs.toml:2:1: a[0]: a is already defined at jobs.toml:1, and nothing can be added to it here",
        ),
        (b"a = " + b"9" * 5000, "jobs.toml: not TOML: a number or a time out of range"),
        (b"a = 2020-02-31", "jobs.toml:1:5: not TOML: Invalid date or datetime"),
    ],
)
def test_what_is_no_toml(content: bytes, said: str) -> None:
    assert problems(content) == [said]


def test_what_cannot_be_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "large").write_bytes(b"#" * (LARGEST + 1))
    said = {name: read(tmp_path / name, tmp_path) for name in ("fifo", "large", ".", "none")}
    assert {name: str(problem) for name, problem in said.items()} == {
        "fifo": "fifo: not a regular file",
        "large": "large: larger than 8 MB",
        ".": ".: not a regular file",
        "none": "none: No such file or directory",
    }


def test_descriptors_are_given_back(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(10):
        read(tmp_path, tmp_path)
        read(write("a.toml", "a = 1"), tmp_path)
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize(
    "text",
    [
        "a = " + "[" * 17 + "]" * 17,
        "a = " + "{a=" * 17 + "1" + "}" * 17,
        "a = " + "[{a=" * 9 + "1" + "}]" * 9,
        "a = " + "[" * 5000 + "]" * 5000,
        "a = [\n" + "[\n" * 16 + "]" * 17,
        ".".join("a" * 17) + " = 1",
        "[" + ".".join("a" * 17) + "]",
        "[" + " . ".join(["'x.y'"] * 17) + "]",
        ".".join("a" * 20_000) + " = 1",
    ],
)
def test_what_is_too_deep(text: str) -> None:
    began = time.perf_counter()
    (said,) = problems(text)
    assert said.endswith("nested deeper than 16")
    assert time.perf_counter() - began < 1


@pytest.mark.parametrize(
    "text",
    [
        "a = " + "[" * DEEPEST + "]" * DEEPEST,
        ".".join("a" * DEEPEST) + " = 1",
        "a = [" + ", ".join(["1.5"] * 100) + "]",
        "a = [" + ", ".join(["[]"] * 100) + "]",
        'a = "' + "[" * 100 + '"',
        "a = '" + "[" * 100 + "'",
        'a = """\n' + "[{" * 100 + '\\"""\n' + "." * 100 + '"""',
        "a = '''\n" + "[{'" * 100 + "\n" + "." * 100 + "'''",
        "# " + "[" * 100 + "." * 100,
        'a = "' + "." * 100 + '"',
        '"' + "." * 100 + '" = 1',
        'a = "\\"[[[[[[[[[[[[[[[[[[[[[["',
    ],
)
def test_what_is_not(text: str) -> None:
    assert measure(text, "x") is None


@pytest.mark.parametrize("piece", ['"', "'", '"""', "'''", "\\", '"""\\', '"\\', "#", "[", "a.", '""', "\n"])
def test_measuring_takes_no_time(piece: str) -> None:
    text = "a = 1\n" + piece * (1_000_000 // len(piece))
    began = time.perf_counter()
    measure(text, "x")
    assert time.perf_counter() - began < 2


def test_too_many_keys() -> None:
    assert measure("=" * 250_001, "x") == Problem(
        file="x", message="more than 250000 keys", code=Code.TOO_LARGE
    )


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    path = Path("any.toml")
    path.write_bytes(data)
    assert isinstance(read(path.absolute(), Path.cwd()), Source | Problem)


PIECES = [
    "[",
    "]",
    "[[",
    "]]",
    "{",
    "}",
    '"',
    "'",
    '"""',
    "'''",
    "\\",
    "=",
    ".",
    ",",
    "\n",
    " ",
    "#",
    "a",
    "1",
]


@given(st.lists(st.sampled_from(PIECES), max_size=60))
def test_any_pieces_of_toml_are_read_or_refused(pieces: list[str]) -> None:
    path = Path("pieces.toml")
    path.write_text("".join(pieces))
    assert isinstance(read(path.absolute(), Path.cwd()), Source | Problem)
