"""One job file: read once, measured before it is parsed, decoded; its place in messages."""

import os
import re
import stat
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any, Final

from orchestrator.config.excerpt import excerpt
from orchestrator.config.locate import Path, conflict, dotted, places, position
from orchestrator.errors import Code, Problem, SettingsError

LARGEST: Final = 8 * 2**20
"""Bytes of one file: ten thousand jobs take about 3 MB."""
MOST_KEYS: Final = 250_000
"""Keys of one file, and items of its lists: ten thousand jobs have about 110,000 keys."""
MOST_DOTS: Final = 100_000
"""Dots in keys and headers; each makes a table, which costs the parser much more than the dot's byte."""
MOST_ENTRIES: Final = 10_000
"""Entries of one table or list, other than `jobs`, `providers` and `hooks`."""
DEEPEST: Final = 16
"""Parts of one dotted key, and nesting of arrays and inline tables: more makes the parser slow or deep."""
_SECTIONS: Final = {("jobs",), ("providers",), ("hooks",)}

_STRING: Final = (
    r'"""(?:[^"\\]++|\\.?|"{1,2}(?!"))*+"{0,5}'
    r"|'''(?:[^']++|'{1,2}(?!'))*+'{0,5}"
    r'|"[^"\\\n]*+(?:\\[^\n][^"\\\n]*+)*+"?'
    r"|'[^'\n]*+'?"
    r"|\#[^\n]*+"
)
"""A string or a comment, also one without an end: a pattern that cannot fail cannot be made slow."""
_BRACKET: Final = re.compile(rf"""(?:[^"'\#\[\]{{}}]++|{_STRING})*+([\[\]{{}}]|\Z)""", re.DOTALL)
_DOTTED: Final = re.compile(rf"^(?:[^\n.]*+\.){{{DEEPEST}}}", re.MULTILINE)
_KEY_PART: Final = re.compile(rf"{_STRING}|[.=,{{}}\[\]\n]", re.DOTALL)
_OPENING: Final = frozenset("[{")
_PLACE: Final = re.compile(r"\(at line (\d+), column (\d+)\)$")
_TWICE: Final = re.compile(r"Cannot (?:declare|overwrite|mutate|redefine)|Duplicate inline table key")
"""What Python's parser says of something that is defined twice; it may name it by a tuple."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Source:
    """A job file that parsed; `shown` is its name in messages, `data` what was read."""

    path: FilePath
    shown: str
    data: bytes
    text: str
    document: Mapping[str, Any]


def shown(path: FilePath, cwd: FilePath) -> str:
    """Write a file's name as a user there would type it."""
    return str(path.relative_to(cwd)) if path.is_relative_to(cwd) else str(path)


def read(path: FilePath, cwd: FilePath) -> Source | Problem:
    """Read and parse one file; what is wrong with it as a whole comes back as a problem."""
    name = shown(path, cwd)
    try:
        data = _bytes(path)
    except (OSError, ValueError) as error:
        message = getattr(error, "strerror", None) or str(error)
        return Problem(file=name, message=message, code=Code.UNREADABLE_FILE)
    try:
        text = data.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = error.start - data.rfind(b"\n", 0, error.start)
        return Problem(file=name, line=line, column=column, message="not UTF-8 text", code=Code.NOT_TOML)
    return measure(text, name) or _parse(path, name, data, text)


def _bytes(path: FilePath) -> bytes:
    # O_NONBLOCK: opening a FIFO must not hang
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ValueError("not a regular file")
        with open(descriptor, "rb", closefd=False) as file:
            data = file.read(LARGEST + 1)
    finally:
        os.close(descriptor)
    if len(data) > LARGEST:
        raise ValueError(f"larger than {LARGEST // 2**20} MB")
    return data


def measure(text: str, name: str) -> Problem | None:
    """Refuse what would make the parser slow or deep; strings and comments do not count."""
    if text.count("=") > MOST_KEYS:
        return Problem(file=name, message=f"more than {MOST_KEYS} keys", code=Code.TOO_LARGE)
    if text.count(",") > MOST_KEYS:
        return Problem(file=name, message=f"more than {MOST_KEYS} commas", code=Code.TOO_LARGE)
    depth = 0
    for found in _BRACKET.finditer(text):
        depth += 1 if found[1] in _OPENING else -1
        if depth > DEEPEST:
            return _too_deep(text, name, found.start(1))
    dotted = text.count(".") > MOST_DOTS or _DOTTED.search(text)
    return _dots(text, name) if dotted else None


def _dots(text: str, name: str) -> Problem | None:
    """Count the dots of each key and of all keys together."""
    dots = total = 0
    for token in _KEY_PART.finditer(text):
        first = text[token.start()]
        if first == ".":
            dots += 1
            if dots >= DEEPEST:
                return _too_deep(text, name, token.start())
        elif first in "=,{}[]\n":
            total += dots if first in "=]" else 0
            dots = 0
            if total > MOST_DOTS:
                message = f"more than {MOST_DOTS} dots in keys"
                return _problem(name, text, token.start(), message, Code.TOO_LARGE)
    return None


def _too_deep(text: str, name: str, at: int) -> Problem:
    return _problem(name, text, at, f"nested deeper than {DEEPEST}", Code.TOO_LARGE)


def _parse(path: FilePath, name: str, data: bytes, text: str) -> Source | Problem:
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        return _refused(name, text, str(error))
    except (ValueError, OverflowError):
        # int() refuses numbers of thousands of digits, datetime offsets that are out of range
        message = "not TOML: a number or a time out of range"
        return Problem(file=name, message=message, code=Code.NOT_TOML)
    where, message = _overgrown(document)
    if message:
        found = places(text).get(where)
        return _problem(name, text, found.key if found else 0, message, Code.TOO_LARGE, where)
    return Source(path=path, shown=name, data=data, text=text, document=document)


def _overgrown(document: Mapping[str, Any]) -> tuple[Path, str]:
    """Find a table or list with more entries than anybody needs; no message where there is none."""
    left: list[tuple[Path, Any]] = [((), document)]
    while left:
        path, value = left.pop()
        if len(value) > MOST_ENTRIES and path not in _SECTIONS:
            return path, f"more than {MOST_ENTRIES} entries"
        entries = value.items() if isinstance(value, dict) else enumerate(value)
        left += [((*path, key), inner) for key, inner in entries if isinstance(inner, dict | list)]
    return (), ""


def _refused(name: str, text: str, said: str) -> Problem:
    """Put the parser's message in our words, with the first place of what is defined twice."""
    offset = _offset(said, text)
    twice = conflict(text, offset) if _TWICE.match(said) else None
    if twice is not None:
        message = f"already defined at {name}:{position(text, twice.first)[0]}"
        if twice.path != twice.whole:
            message = f"{dotted(twice.path)} is {message}, and nothing can be added to it here"
        return _problem(name, text, twice.offset, message, Code.DUPLICATE, twice.whole)
    message = _PLACE.sub("", said).removesuffix("(at end of document)").strip()
    if _TWICE.match(said):
        message = "this is already defined"
    if message == "Invalid value" and text[offset : offset + 1].isalpha():
        message = "text must stand in quotes"
    return _problem(name, text, offset, f"not TOML: {message}", Code.NOT_TOML)


def _problem(
    name: str, text: str, offset: int, message: str, code: Code, path: Path | None = None
) -> Problem:
    line, column = position(text, offset)
    shown, width = excerpt(text, offset, path, key=path is not None)
    return Problem(
        file=name,
        line=line,
        column=column,
        path=dotted(path or ()),
        message=message,
        code=code,
        excerpt=shown,
        width=width,
    )


def _offset(said: str, text: str) -> int:
    found = _PLACE.search(said)
    if found is None:
        return len(text)
    starts = [0, *(newline.end() for newline in re.finditer("\n", text))]
    return starts[int(found[1]) - 1] + int(found[2]) - 1


def read_all(files: Sequence[FilePath]) -> tuple[list[Source], list[Problem], FilePath]:
    """Read every file, and return also what is wrong with them and the folder that they are shown from."""
    if not files:
        raise SettingsError("no job file was given")
    cwd = FilePath.cwd()
    sources: list[Source] = []
    problems: list[Problem] = []
    room = LARGEST
    for path in files:
        found = read(path, cwd)
        if isinstance(found, Source):
            sources.append(found)
            room -= len(found.data)
        else:
            problems.append(found)
        if room < 0:
            message = f"with it, the job files are larger than {LARGEST // 2**20} MB together"
            problems.append(Problem(file=shown(path, cwd), message=message, code=Code.TOO_LARGE))
            break
    return sources, problems, cwd
