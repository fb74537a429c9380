"""Times as a job file writes them: `500ms`, `90s`, `15m`, `2h30m`, `1d`."""

import re
from datetime import timedelta
from functools import lru_cache
from typing import Annotated, Final

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema
from pydantic_core import PydanticCustomError

LONGEST: Final = timedelta(days=365)
EXAMPLES: Final = '"90s", "15m" or "2h30m"'

PATTERN: Final = "^(?=.)([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?$"
"""The form of a duration in the JSON Schema."""

_FORM: Final = re.compile(
    r"(?:([0-9]{1,9})d)?(?:([0-9]{1,9})h)?(?:([0-9]{1,9})m)?(?:([0-9]{1,9})s)?(?:([0-9]{1,12})ms)?"
)
_UNITS: Final = (
    ("d", timedelta(days=1)),
    ("h", timedelta(hours=1)),
    ("m", timedelta(minutes=1)),
    ("s", timedelta(seconds=1)),
    ("ms", timedelta(milliseconds=1)),
)


@lru_cache(maxsize=1000)
def parse(text: str) -> timedelta:
    """Read a duration; raises ValueError, whose text says what was expected."""
    found = _FORM.fullmatch(text)
    if found is None or not text:
        raise ValueError(f"expected a duration such as {EXAMPLES}")
    total = timedelta()
    for number, (_, unit) in zip(found.groups(), _UNITS, strict=True):
        # compared before it is multiplied, since a timedelta overflows at 999,999,999 days
        if number is not None and int(number) > LONGEST / unit:
            raise ValueError("a duration is at most 365d")
        total += int(number or 0) * unit
    if total > LONGEST:
        raise ValueError("a duration is at most 365d")
    return total


def show(length: timedelta) -> str:
    """Write a duration as `parse` reads it; anything below a millisecond is dropped."""
    parts, rest = [], length
    for name, unit in _UNITS:
        count, rest = divmod(rest, unit)
        if count:
            parts.append(f"{count}{name}")
    return "".join(parts) or "0s"


def _read(value: object) -> timedelta:
    if isinstance(value, timedelta):
        return value
    if not isinstance(value, str):
        raise PydanticCustomError("duration", "expected a duration such as " + EXAMPLES)
    try:
        return parse(value)
    except ValueError as error:
        raise PydanticCustomError("duration", "{text}", {"text": str(error)}) from error


Duration = Annotated[
    timedelta,
    BeforeValidator(_read),
    PlainSerializer(show, return_type=str, when_used="json"),
    WithJsonSchema(
        {
            "type": "string",
            "pattern": PATTERN,
            "examples": ["90s", "15m", "2h30m"],
        }
    ),
]
"""A field that holds a duration; bound it with `Field(ge=timedelta(...))`."""
