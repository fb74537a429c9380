"""Reading a provider's answers: within limits, strict about their form, and safe to show."""

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
"""Values in one document: without this limit, 16 MB of `[],` would take 400 MB of memory."""
WORD_CAP: Final = 200

_NESTING: Final = frozenset({dict, list})
_ID: Final = re.compile(r"[A-Za-z0-9_.:-]{1,128}")
_NAME: Final = re.compile(r"[A-Za-z0-9_.:+=@~-]+(/[A-Za-z0-9_.:+=@~-]+)*")
_NAME_CAP: Final = 1024
_LATEST: Final = 253402300799
"""The last second of the year 9999, the latest that a datetime can hold."""


def inflate(raw: bytes, encoding: str) -> bytes:
    """Undo the content encoding that we ask for, up to `DECODED_CAP` bytes."""
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
    """Parse strict JSON; an empty body is None. Raises only `Misread`."""
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
    """Say whether `value` is nested too deeply, level by level: recursion would hit Python's limit first."""
    level = [value] if type(value) in _NESTING else []
    for _ in range(DEPTH_CAP):
        # Exact types are all the parser makes, and this check runs on every value of every page.
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
    """Find the message in an error's body, in any of the shapes that providers use."""
    match payload:
        case str():
            return payload
        # Oxen: next to these its status_message is only a code such as bad_request.
        case {"error": {"detail": str(said)}} | {"status_description": str(said)} if said:
            return said
        case {"message": str(said)} | {"status_message": str(said)} if said:
            return said
        case {"errors": [*errors]} if errors:
            return "; ".join(filter(None, map(error_text, errors[:5])))
        case {"error": (str() | dict()) as inner} if inner:
            return error_text(inner)
        case {"detail": str(said)} | {"title": str(said)} | {"msg": str(said)}:
            return said
        case {"detail": [*errors]}:  # FastAPI's
            return "; ".join(filter(None, map(error_text, errors[:5])))
        case _:
            return ""


@contextmanager
def after_create() -> Iterator[None]:
    """Raise `Unclear` instead of `Misread`: a create with an unreadable answer was probably applied."""
    try:
        yield
    except Misread as error:
        raise Unclear(error.message, code=error.code) from error


def record(value: Any, what: str) -> Mapping[str, Any]:
    """Return `value` if it is an object, else raise `Misread`."""
    if not isinstance(value, dict):
        raise Misread(f"{what} is not an object")
    return value


def records(value: Any, what: str) -> list[Mapping[str, Any]]:
    """Return `value` if it is a list of at most `ITEM_CAP` objects, else raise `Misread`."""
    if not isinstance(value, list):
        raise Misread(f"{what} is not a list")
    if len(value) > ITEM_CAP:
        raise Misread(f"{what} holds more than {ITEM_CAP} items")
    return [record(item, what) for item in value]


def remote_id(value: Any) -> str:
    """Return `value` if it is a plain id, else raise `Misread`."""
    if not isinstance(value, str) or not _ID.fullmatch(value) or value in (".", ".."):
        raise Misread("the answer has no id of a known form")
    return value


def resource_name(value: Any) -> str:
    """Return `value` if it is an ARN or a resource name, which may contain slashes, else raise `Misread`."""
    if (
        not isinstance(value, str)
        or len(value) > _NAME_CAP
        or not _NAME.fullmatch(value)
        or any(part in (".", "..") for part in value.split("/"))
    ):
        raise Misread("the answer has no id of a known form")
    return value


def segment(remote_id: str) -> str:
    """Quote an id as one path segment, so `arn:a/b` becomes `arn%3Aa%2Fb`.

    Raises `Missing` for an id that no path can contain, such as `..`: no provider can know it.
    """
    if remote_id in ("", ".", ".."):
        raise Missing(f'"{remote_id}" cannot be an id')
    return quote(remote_id, safe="")


def text(item: Mapping[str, Any], key: str) -> str:
    """Return a required text as it is."""
    value = item.get(key)
    if not isinstance(value, str):
        raise Misread(f"{key} is not text")
    return value


def maybe_text(item: Mapping[str, Any], key: str) -> str:
    """Return a text that may be missing or null, which then is empty."""
    return "" if item.get(key) is None else text(item, key)


def word(item: Mapping[str, Any], key: str) -> str:
    """Return a status word, safe to show; empty if it is missing."""
    return clean(maybe_text(item, key), WORD_CAP)


def moment(*values: Any) -> datetime | None:
    """Return the first of `values` that is a time, in UTC: ISO text or unix seconds.

    Text without an offset is taken as UTC.
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
