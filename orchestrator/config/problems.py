"""Faults of a job file, and what a person is shown of each: its place, its line, the key that was meant."""

import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path as FilePath
from typing import Self

from orchestrator.config.excerpt import excerpt
from orchestrator.config.locate import LONGEST, Path, dotted, places, printable
from orchestrator.config.source import Source, read
from orchestrator.errors import MOST_PROBLEMS, Code, Problem, near


class Spot(Enum):
    """What a fault points at."""

    KEY = auto()
    VALUE = auto()


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """A problem before its line is known; `first` is the other place that it names."""

    source: Source
    path: Path
    message: str
    hint: str | None = None
    code: Code = Code.INVALID_VALUE
    spot: Spot = Spot.VALUE
    known: Sequence[str] = ()
    """The keys of the table, where one that it does not have is at fault."""
    first: tuple[Source, Path] | None = None


class Faults(list[Fault]):
    """Gathered faults: the first so many are kept, of the rest it is known how many there are."""

    more = 0

    def append(self, fault: Fault) -> None:
        """Keep a fault, or count it."""
        if len(self) < MOST_PROBLEMS:
            super().append(fault)
        else:
            self.more += 1

    def extend(self, faults: Iterable[Fault]) -> None:
        """Keep or count each."""
        for fault in faults:
            self.append(fault)

    def __iadd__(self, faults: Iterable[Fault]) -> Self:  # type: ignore[override, misc]  # lists allow more
        self.extend(faults)
        return self

    @property
    def total(self) -> int:
        """How many there are."""
        return len(self) + self.more


def render(faults: Iterable[Fault]) -> tuple[Problem, ...]:
    """Add the places, reading each file's map once."""
    maps: dict[str, _Map] = {}

    def of(source: Source) -> _Map:
        if source.shown not in maps:
            maps[source.shown] = _Map(source.text)
        return maps[source.shown]

    return tuple(_problem(fault, of) for fault in faults)


def _problem(fault: Fault, of: Callable[[Source], "_Map"]) -> Problem:
    found = of(fault.source)
    offset = found.offset(fault.path, fault.spot)
    line, column = found.position(offset)
    text, width = excerpt(fault.source.text, offset, fault.path, key=fault.spot is Spot.KEY)
    message = fault.message
    if fault.first is not None:
        source, path = fault.first
        first = of(source)
        message = f"{message} {source.shown}:{first.position(first.offset(path, Spot.KEY))[0]}"
    return Problem(
        file=fault.source.shown,
        line=line,
        column=column,
        path=dotted(fault.path),
        message=message,
        hint=fault.hint or near(str(fault.path[-1]) if fault.path else "", fault.known),
        code=fault.code,
        excerpt=text,
        width=width,
    )


def placed(file: FilePath, path: Path, message: str) -> tuple[Problem, ...]:
    """Blame what stands at `path` of a file that was read before."""
    source = read(file, FilePath.cwd())
    if isinstance(source, Problem):
        return (source,)
    return render([Fault(source=source, path=path, message=message)])


class _Map:
    """The places of one file, with its lines counted once."""

    def __init__(self, text: str) -> None:
        self.found = places(text)
        self.lines = [0, *(newline.end() for newline in re.finditer("\n", text))]

    def offset(self, path: Path, spot: Spot) -> int:
        """Return where `path` stands, or the nearest table around what is not there."""
        if path in self.found:
            return self.found[path].key if spot is Spot.KEY else self.found[path].value
        return self.offset(path[:-1], Spot.KEY) if path else 0

    def position(self, offset: int) -> tuple[int, int]:
        """Return line and column of an offset."""
        line = bisect_right(self.lines, offset)
        return line, offset - self.lines[line - 1] + 1


def quoted(value: object) -> str:
    """Show a value of a job file, tables and lists by their kind only."""
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return f'"{printable(value)}"'
        case int():
            # str() refuses what has thousands of digits
            return str(value) if abs(value) < 10**LONGEST else "a number out of range"
        case float():
            return repr(value)
        case Mapping():
            return "a table"
        case Sequence():
            return "a list"
        case _:
            return "a date or time"
