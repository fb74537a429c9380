"""What pydantic finds wrong with a table, in plain words."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from orchestrator.config import duration
from orchestrator.config.excerpt import SENSITIVE
from orchestrator.config.locate import Path
from orchestrator.config.problems import Fault, Spot, quoted
from orchestrator.config.source import Source
from orchestrator.errors import Code, near

_CODES: Final = {
    "extra_forbidden": Code.UNKNOWN_KEY,
    "missing": Code.MISSING_KEY,
    "secret_literal": Code.LITERAL_SECRET,
    "secret_keyring": Code.NOT_SUPPORTED,
}


def faults_of(
    error: ValidationError, source: Source, prefix: Path, table: object, model: type[BaseModel]
) -> Iterator[Fault]:
    """Translate what pydantic found in `table`, which stands at `prefix`."""
    known: dict[Path, Sequence[str]] = {}
    for path, details in _chosen(error, table):
        message, hint = _words(details, path, prefix)
        unknown = details["type"] == "extra_forbidden"
        if unknown and path[:-1] not in known:
            known[path[:-1]] = keys(model, path[:-1])
        yield Fault(
            source=source,
            path=(*prefix, *path),
            message=message,
            hint=hint,
            code=_CODES.get(details["type"], Code.INVALID_VALUE),
            spot=Spot.KEY if unknown else Spot.VALUE,
            known=known[path[:-1]] if unknown else (),
        )


def summary(error: ValidationError, table: object) -> str:
    """Say the first thing that is wrong, for a value that is in no file."""
    path, details = _chosen(error, table)[0]
    message, hint = _words(details, path, ())
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


def _words(details: ErrorDetails, path: Path, prefix: Path) -> tuple[str, str | None]:
    context: Mapping[str, Any] = details.get("ctx", {})
    value, kind = details["input"], details["type"]
    if kind == "extra_forbidden":
        return "unknown key", None
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
    if any(SENSITIVE.search(key) for key in path if isinstance(key, str)):
        return ""
    text = duration.show(value) if isinstance(value, timedelta) else quoted(value)
    return f", got {text}"


def _variable(path: Path) -> str:
    words = [str(key) for key in path if key not in {"providers", "hooks", "jobs", "spec", "settings"}]
    return re.sub(r"[^A-Z0-9]+", "_", "_".join(words[-2:]).upper()).lstrip("_0123456789") or "NAME"


def keys(model: type[BaseModel], path: Path) -> list[str]:
    """List the keys that the model knows at `path`."""
    tables = [model]
    for key in path:
        if isinstance(key, str):
            fields = [each.model_fields[key] for each in tables if key in each.model_fields]
            tables = [inner for field in fields for inner in models(field.annotation)]
    found = [field.alias or key for each in tables for key, field in each.model_fields.items()]
    return [*found, *(key for each in tables for key in getattr(each, "apart", ()))]


def models(annotation: object) -> Iterator[type[BaseModel]]:
    """Return the models that an annotation names."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from models(inner)
