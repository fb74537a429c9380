"""Where each key and value of a TOML document stands, for messages; only read when there is one to show."""

import json
import re
import tomllib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

Key = str | int
Path = tuple[Key, ...]

LONGEST: Final = 40
"""Characters of a value that are shown."""
_BARE: Final = re.compile(r"[A-Za-z0-9_-]+")
_BLANK: Final = re.compile(r"(?:[ \t\n]++|\#[^\n]*+)*+")
_SPACE: Final = re.compile(r"[ \t]*+")
_PART: Final = re.compile(r"""[A-Za-z0-9_-]++|"(?:[^"\\\n]++|\\.)*+"|'[^'\n]*+'""")
_SCALAR: Final = re.compile(
    r'"""(?:[^"\\]++|\\.|"{1,2}(?!"))*+"{3,5}'
    r"|'''(?:[^']++|'{1,2}(?!'))*+'{3,5}"
    r'|"(?:[^"\\\n]++|\\.)*+"'
    r"|'[^'\n]*+'"
    r"|[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9][^\s,\]}\#]*+"
    r"|[^\s,\]}\#]++",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Place:
    """Offsets of a key, and of the value that it has (for a table under a header: the same)."""

    key: int
    value: int


def places(text: str) -> Mapping[Path, Place]:
    """Map every path of a document, which tomllib has accepted, to its place."""
    reader = _Reader(text)
    reader.document()
    return reader.found


def position(text: str, offset: int) -> tuple[int, int]:
    """Return line and column of an offset, both counted from 1."""
    return text.count("\n", 0, offset) + 1, offset - text.rfind("\n", 0, offset)


def dotted(path: Path) -> str:
    """Write a path as TOML would."""
    text = ""
    for key in path:
        if isinstance(key, int):
            text += f"[{key}]"
        else:
            part = key if _BARE.fullmatch(key) else json.dumps(printable(key, 100), ensure_ascii=False)
            text += f".{part}" if text else part
    return text


def printable(text: str, longest: int = LONGEST) -> str:
    """Make a user's text safe to show: no control, bidi or zero-width characters, and short."""
    clean = "".join(letter if letter.isprintable() else "?" for letter in text[: longest + 1])
    return clean if len(clean) <= longest else f"{clean[: longest - 1]}…"


def extent(text: str, offset: int, *, key: bool) -> int:
    """Return how many characters the key or the scalar at `offset` has; of a list or table, 1."""
    found = None if text[offset : offset + 1] in "[{" else (_PART if key else _SCALAR).match(text, offset)
    return found.end() - offset if found else 1


@dataclass(frozen=True, slots=True)
class Conflict:
    """`whole` is defined at `offset`, though it, or the table `path` that it is in, was at `first`."""

    path: Path
    whole: Path
    offset: int
    first: int


def conflict(text: str, end: int) -> Conflict | None:
    """Say what the statement that the parser refused at `end` defines again; all before it is valid TOML."""
    # Nothing after `end` is known to be valid; a header is refused before its bracket is read.
    reader = _Reader(f"{text[:end]}]")
    with suppress(IndexError):
        reader.document(end)
    if reader.again is not None:
        path, place, first = reader.again
        return Conflict(path, path, place.key, first.key)
    whole, place = reader.latest
    for length in range(len(whole) - 1, 0, -1):
        before = reader.found.get(whole[:length])
        if before is not None and before.key < reader.began:
            return Conflict(whole[:length], whole, place.key, before.key)
    return None


class _Reader:
    """A walk over the text; since the document is valid, no token is ever missing."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.found: dict[Path, Place] = {}
        self.lengths: dict[Path, int] = {}
        self.latest: tuple[Path, Place] = ((), Place(0, 0))
        """What was defined last."""
        self.again: tuple[Path, Place, Place] | None = None
        """What the statement defined again, where, and where it was defined first."""
        self.began = 0
        """Where the statement begins."""

    def document(self, end: int | None = None) -> None:
        """Read all statements, or those up to the one that is read at `end`."""
        table: Path = ()
        while self._skip(_BLANK) < len(self.text):
            self.began, self.again = self.at, None
            if self.text[self.at] == "[":
                table = self._header()
            else:
                self._pair(table)
            if end is not None and self.at >= end:
                return

    def _define(self, path: Path, place: Place) -> None:
        if path in self.found and self.again is None:
            self.again = (path, place, self.found[path])
        self.found[path] = place
        self.latest = (path, place)

    def _skip(self, what: re.Pattern[str]) -> int:
        found = what.match(self.text, self.at)
        self.at = found.end() if found else self.at
        return self.at

    def _header(self) -> Path:
        start = self.at
        array = self.text.startswith("[[", self.at)
        self.at += 2 if array else 1
        parts = self._key()
        self.at += 2 if array else 1
        path: Path = ()
        for part, offset in parts[:-1]:
            path = self._inside((*path, part), offset)
        part, offset = parts[-1]
        path = (*path, part)
        if array:
            self.found.setdefault(path, Place(offset, offset))
            index = self.lengths.get(path, 0)
            self.lengths[path] = index + 1
            path = (*path, index)
            offset = start
        # an explicit header is where the table is, also when a table inside it came first
        self._define(path, Place(offset, offset))
        return path

    def _inside(self, path: Path, offset: int) -> Path:
        self.found.setdefault(path, Place(offset, offset))
        return (*path, self.lengths[path] - 1) if path in self.lengths else path

    def _key(self) -> list[tuple[str, int]]:
        parts = []
        while True:
            start = self._skip(_SPACE)
            self._skip(_PART)
            parts.append((_plain(self.text[start : self.at]), start))
            if self.text[self._skip(_SPACE)] != ".":
                return parts
            self.at += 1

    def _pair(self, table: Path) -> None:
        parts = self._key()
        self.at += 1
        start = self._skip(_SPACE)
        path = table
        for part, offset in parts[:-1]:
            path = (*path, part)
            self.found.setdefault(path, Place(offset, start))
        part, offset = parts[-1]
        path = (*path, part)
        self._define(path, Place(offset, start))
        self._value(path)

    def _value(self, path: Path) -> None:
        match self.text[self.at]:
            case "[":
                self._array(path)
            case "{":
                self._inline(path)
            case _:
                self._skip(_SCALAR)

    def _array(self, path: Path) -> None:
        self.at += 1
        index = 0
        while self.text[self._skip(_BLANK)] != "]":
            self.found[(*path, index)] = Place(self.at, self.at)
            self._value((*path, index))
            index += 1
            if self.text[self._skip(_BLANK)] == ",":
                self.at += 1
        self.at += 1

    def _inline(self, path: Path) -> None:
        self.at += 1
        while self.text[self._skip(_BLANK)] != "}":
            self._pair(path)
            if self.text[self._skip(_BLANK)] == ",":
                self.at += 1
        self.at += 1


def _plain(key: str) -> str:
    if key.startswith("'"):
        return key[1:-1]
    if key.startswith('"'):
        return str(tomllib.loads(f"k = {key}")["k"]) if "\\" in key else key[1:-1]
    return key
