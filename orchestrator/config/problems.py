"""Faults of a job file in plain words: pydantic's errors translated, near misses found, places added."""

import difflib
import json
import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum, auto
from pathlib import Path as FilePath
from typing import Any, Final, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from orchestrator.config import duration
from orchestrator.config.locate import Path, places
from orchestrator.config.source import Source, read
from orchestrator.errors import Problem

LONGEST: Final = 40
_BARE: Final = re.compile(r"[A-Za-z0-9_-]+")
_SENSITIVE: Final = re.compile(r"key|token|secret|passw|auth|credential|url|dsn|database", re.IGNORECASE)


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
    spot: Spot = Spot.VALUE
    first: tuple[Source, Path] | None = None


def render(faults: Iterable[Fault]) -> tuple[Problem, ...]:
    """Add the places, reading each file's map once."""
    maps: dict[str, _Map] = {}

    def place(source: Source, path: Path, spot: Spot) -> tuple[int, int]:
        if source.shown not in maps:
            maps[source.shown] = _Map(source.text)
        return maps[source.shown].place(path, spot)

    problems = []
    for fault in faults:
        line, column = place(fault.source, fault.path, fault.spot)
        message = fault.message
        if fault.first is not None:
            source, path = fault.first
            message = f"{message} {source.shown}:{place(source, path, Spot.KEY)[0]}"
        problems.append(
            Problem(
                file=fault.source.shown,
                line=line,
                column=column,
                path=dotted(fault.path),
                message=message,
                hint=fault.hint,
            )
        )
    return tuple(problems)


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

    def place(self, path: Path, spot: Spot) -> tuple[int, int]:
        """Return line and column of `path`, or of the nearest table around what is not there."""
        if path in self.found:
            return self._position(self.found[path].key if spot is Spot.KEY else self.found[path].value)
        return self.place(path[:-1], Spot.KEY) if path else (1, 1)

    def _position(self, offset: int) -> tuple[int, int]:
        line = bisect_right(self.lines, offset)
        return line, offset - self.lines[line - 1] + 1


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


def near(word: str, known: Iterable[str]) -> str | None:
    """Suggest the known word that was probably meant."""
    # a long word is never a slip of the pen, and comparing it is slow
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6) if len(word) <= 100 else []
    return f'did you mean "{close[0]}"?' if close else None


def printable(text: str, longest: int = LONGEST) -> str:
    """Make a user's text safe to show: no control, bidi or zero-width characters, and short."""
    clean = "".join(letter if letter.isprintable() else "?" for letter in text[: longest + 1])
    return clean if len(clean) <= longest else f"{clean[: longest - 1]}…"


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


def faults_of(
    error: ValidationError, source: Source, prefix: Path, table: object, model: type[BaseModel]
) -> Iterator[Fault]:
    """Translate what pydantic found in `table`, which stands at `prefix`."""
    for path, details in _chosen(error, table):
        message, hint = _words(details, path, model, prefix)
        spot = Spot.KEY if details["type"] == "extra_forbidden" else Spot.VALUE
        yield Fault(source=source, path=(*prefix, *path), message=message, hint=hint, spot=spot)


def summary(error: ValidationError, table: object, model: type[BaseModel]) -> str:
    """Say the first thing that is wrong, for a value that is in no file."""
    path, details = _chosen(error, table)[0]
    message, hint = _words(details, path, model, ())
    return f"{message}, {hint}" if hint else message


def _chosen(error: ValidationError, table: object) -> list[tuple[Path, ErrorDetails]]:
    """Return each error with its path in TOML; of a union's branches only the one that was meant."""
    branches: dict[Path, dict[Path, list[tuple[Path, ErrorDetails]]]] = {}
    for details in error.errors(include_url=False):
        path, union, branch = _walk(details, table)
        branches.setdefault(union, {}).setdefault(branch, []).append((path, details))
    return [entry for each in branches.values() for entry in max(each.values(), key=_meant)]


def _walk(details: ErrorDetails, table: object) -> tuple[Path, Path, Path]:
    """Split pydantic's location into the path in TOML, and the first union on it and its branch."""
    path: list[str | int] = []
    union: Path | None = None
    branch: Path = ()
    here = table
    location = details["loc"]
    for index, key in enumerate(location):
        last = index == len(location) - 1
        if isinstance(here, Mapping) and key in here:
            path.append(key)
            here = here[str(key)]
        elif isinstance(here, list) and isinstance(key, int) and key < len(here):
            path.append(key)
            here = here[key]
        elif last and details["type"] == "missing":
            path.append(key)
        elif union is None:
            union, branch = tuple(path), (key,)
    # without a union every path stands for itself
    return tuple(path), (*path, "", len(location)) if union is None else union, branch


def _meant(entries: Sequence[tuple[Path, ErrorDetails]]) -> tuple[int, bool]:
    return max((len(path), details["type"].startswith("secret")) for path, details in entries)


def _words(details: ErrorDetails, path: Path, model: type[BaseModel], prefix: Path) -> tuple[str, str | None]:
    context: Mapping[str, Any] = details.get("ctx", {})
    value, kind = details["input"], details["type"]
    if kind == "extra_forbidden":
        return "unknown key", near(str(path[-1]), _keys(model, path[:-1]))
    if kind == "secret_literal":
        return details["msg"], f'write {{ env = "{_variable((*prefix, *path))}" }}'
    if kind in {"enum", "literal_error"}:
        known = re.findall(r"'([^']*)'", str(context.get("expected", "")))
        hint = near(value, known) if isinstance(value, str) else None
        return f"expected one of {', '.join(known)}{_got(value, path)}", hint
    if kind == "string_pattern_mismatch":
        return f"expected a name of letters, digits, . _ - (63 at most){_got(value, path)}", None
    if kind in _EXPECTED:
        return f"expected {_EXPECTED[kind](context)}{_got(value, path)}", None
    text = "missing" if kind == "missing" else details["msg"].removeprefix("Value error, ")
    return text[:1].lower() + text[1:], None


def _limit(value: object) -> str:
    if isinstance(value, str):
        # pydantic tells a timedelta's limit as its repr
        parts = {name: int(number) for name, number in re.findall(r"(\w+)=(\d+)", value)}
        return duration.show(timedelta(**parts))
    return f"{value:g}" if isinstance(value, float) else str(value)


_EXPECTED: Final[Mapping[str, Callable[[Mapping[str, Any]], str]]] = {
    "int_type": lambda _: "a whole number",
    "int_parsing": lambda _: "a whole number",
    "int_from_float": lambda _: "a whole number",
    "float_type": lambda _: "a number",
    "float_parsing": lambda _: "a number",
    "finite_number": lambda _: "a finite number",
    "string_type": lambda _: "a text in quotes",
    "bool_type": lambda _: "true or false",
    "bool_parsing": lambda _: "true or false",
    "list_type": lambda _: "a list",
    "tuple_type": lambda _: "a list",
    "set_type": lambda _: "a list",
    "frozen_set_type": lambda _: "a list",
    "dict_type": lambda _: "a table",
    "model_type": lambda _: "a table",
    "model_attributes_type": lambda _: "a table",
    "none_required": lambda _: "nothing",
    "greater_than": lambda context: f"more than {_limit(context['gt'])}",
    "greater_than_equal": lambda context: f"at least {_limit(context['ge'])}",
    "less_than": lambda context: f"less than {_limit(context['lt'])}",
    "less_than_equal": lambda context: f"at most {_limit(context['le'])}",
    "string_too_short": lambda context: f"at least {context['min_length']} characters",
    "string_too_long": lambda context: f"at most {context['max_length']} characters",
    "too_short": lambda context: f"at least {context['min_length']} items",
    "too_long": lambda context: f"at most {context['max_length']} items",
}
"""What each of pydantic's error types asks for."""


def _got(value: object, path: Path) -> str:
    """Show the value, unless its key says that it may be a secret."""
    if any(_SENSITIVE.search(key) for key in path if isinstance(key, str)):
        return ""
    text = duration.show(value) if isinstance(value, timedelta) else quoted(value)
    return f", got {text}"


def _variable(path: Path) -> str:
    words = [str(key) for key in path if key not in {"providers", "hooks", "jobs", "spec", "settings"}]
    return re.sub(r"[^A-Z0-9]+", "_", "_".join(words[-2:]).upper()).lstrip("_0123456789") or "NAME"


def _keys(model: type[BaseModel], path: Path) -> list[str]:
    """List the keys that the model knows at `path`."""
    models = [model]
    for key in path:
        if isinstance(key, str):
            fields = [each.model_fields[key] for each in models if key in each.model_fields]
            models = [inner for field in fields for inner in _models(field.annotation)]
    return [field.alias or key for each in models for key, field in each.model_fields.items()]


def _models(annotation: object) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models(inner)
