"""Reading what a provider sent: bounded, strict about form, and safe to show."""

import json
import math
import re
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Final, NoReturn
from urllib.parse import quote

from orchestrator.core.text import clean
from orchestrator.errors import Misread, Missing, Unclear

WIRE_CAP: Final = 4 * 2**20
DECODED_CAP: Final = 16 * 2**20
DEPTH_CAP: Final = 32
ITEM_CAP: Final = 10_000
NODE_CAP: Final = 1_000_000
"""Values in one document: 16 MB of `[],` would otherwise take 400 MB of memory."""
WORD_CAP: Final = 200

_NESTING: Final = frozenset({dict, list})
_ID: Final = re.compile(r"[A-Za-z0-9_.:-]{1,128}")
_NAME: Final = re.compile(r"[A-Za-z0-9_.:+=@~-]+(/[A-Za-z0-9_.:+=@~-]+)*")
_NAME_CAP: Final = 1024
_LATEST: Final = 253402300799
"""The last second that a date can hold: of the year 9999."""


def inflate(raw: bytes, encoding: str) -> bytes:
    """Undo the one encoding that we ask for, within its cap."""
    match encoding.strip().lower():
        case "" | "identity":
            return raw
        case "gzip":
            return _gunzip(raw)
        case _:
            raise Misread("the answer has an encoding that was not requested")


def _gunzip(raw: bytes) -> bytes:
    stream = zlib.decompressobj(wbits=31)
    try:
        plain = stream.decompress(raw, DECODED_CAP + 1)
    except zlib.error as error:
        raise Misread("the answer claims to be gzip, but is not") from error
    if len(plain) > DECODED_CAP:
        raise Misread("the answer is larger than 16 MB")
    if not stream.eof or stream.unused_data:
        raise Misread("the answer is cut short")
    return plain


def parse(body: bytes) -> Any:
    """Read strict JSON; an empty body is None. Raises `Misread` and nothing else."""
    if not body.strip():
        return None
    if body.count(b",") + body.count(b"[") + body.count(b"{") > NODE_CAP:
        raise Misread("the answer holds too many values")
    try:
        value = json.loads(body.decode("utf-8"), parse_constant=_no_constant, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        raise Misread(f"the answer is not the JSON that was expected: {type(error).__name__}") from error
    if _deep(value):
        raise Misread(f"the answer is nested deeper than {DEPTH_CAP}")
    return value


def _no_constant(word: str) -> NoReturn:
    raise ValueError(f"{word} is not JSON")


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError("a number is out of range")
    return number


def _deep(value: Any) -> bool:
    """Walk level by level, since a recursive walk would fail on what it is to find."""
    level = [value] if type(value) in _NESTING else []
    for _ in range(DEPTH_CAP):
        # By exact type, which is all that the parser makes: this looks at every value of every page.
        level = [
            inner
            for outer in level
            for inner in (outer.values() if type(outer) is dict else outer)
            if type(inner) in _NESTING
        ]
        if not level:
            return False
    return True


def error_text(payload: Any) -> str:
    """Find the provider's own words in an error's body, in whichever of the known shapes."""
    match payload:
        case str():
            return payload
        # Oxen's server: beside these, its status_message is only a code such as bad_request.
        case {"error": {"detail": str(said)}} | {"status_description": str(said)} if said:
            return said
        case {"message": str(said)} | {"status_message": str(said)} if said:
            return said
        case {"errors": [*errors]} if errors:
            return "; ".join(filter(None, map(error_text, errors[:5])))
        case {"error": (str() | dict()) as inner} if inner:
            return error_text(inner)
        case {"detail": str(said)} | {"title": str(said)}:
            return said
        case _:
            return ""


@contextmanager
def after_create() -> Iterator[None]:
    """Turn a reply that cannot be read into doubt: the request was probably applied."""
    try:
        yield
    except Misread as error:
        raise Unclear(error.message, code=error.code) from error


def record(value: Any, what: str) -> Mapping[str, Any]:
    """Take an object, or raise `Misread`."""
    if not isinstance(value, dict):
        raise Misread(f"{what} is not an object")
    return value


def records(value: Any, what: str) -> list[Mapping[str, Any]]:
    """Take a list of objects within its cap, or raise `Misread`."""
    if not isinstance(value, list):
        raise Misread(f"{what} is not a list")
    if len(value) > ITEM_CAP:
        raise Misread(f"{what} holds more than {ITEM_CAP} items")
    return [record(item, what) for item in value]


def remote_id(value: Any) -> str:
    """Take an id that may go into a path, or raise `Misread`."""
    if not isinstance(value, str) or not _ID.fullmatch(value) or value in (".", ".."):
        raise Misread("the answer has no id of a known form")
    return value


def resource_name(value: Any) -> str:
    """Take an id that is an ARN or a resource name, slashes and colons included, or raise `Misread`."""
    if (
        not isinstance(value, str)
        or len(value) > _NAME_CAP
        or not _NAME.fullmatch(value)
        or any(part in (".", "..") for part in value.split("/"))
    ):
        raise Misread("the answer has no id of a known form")
    return value


def segment(remote_id: str) -> str:
    """Write an id as one segment of a path, whatever it holds: `arn:a/b` as `arn%3Aa%2Fb`.

    One that no path can hold is `Missing`: the provider can know of no such id.
    """
    if remote_id in ("", ".", ".."):
        raise Missing(f'the provider can have no "{remote_id}"')
    return quote(remote_id, safe="")


def text(item: Mapping[str, Any], key: str) -> str:
    """Take a text that must be there, as it came."""
    value = item.get(key)
    if not isinstance(value, str):
        raise Misread(f"{key} is not text")
    return value


def maybe_text(item: Mapping[str, Any], key: str) -> str:
    """Take a text that may be missing or null: then it is empty."""
    return "" if item.get(key) is None else text(item, key)


def word(item: Mapping[str, Any], key: str) -> str:
    """Take a status word that may be missing, safe to show."""
    return clean(maybe_text(item, key), WORD_CAP)


def moment(*values: Any) -> datetime | None:
    """Read the first of `values` that is a time, ISO text or unix seconds, as aware UTC.

    A text without an offset is UTC.
    """
    for value in values:
        if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= _LATEST:
            return datetime.fromtimestamp(value, UTC)
        if not isinstance(value, str):
            continue
        try:
            found = datetime.fromisoformat(value)
            return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
        except (ValueError, OverflowError):
            continue
    return None
