"""Small checks of what a client sends; each raises a `Refusal` that names the field."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.sandbox.wire import Call, Fields, Refusal

_TYPES: Mapping[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "object": (dict,),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Field:
    """What one field of a body may be; `fields` describes an object, closed unless `open`."""

    kind: str = "string"
    required: bool = False
    nullable: bool = False
    choices: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None
    fields: Mapping[str, "Field"] | None = None
    open: bool = False


def check_object(value: Fields, fields: Mapping[str, Field], *, where: str = "", closed: bool = True) -> None:
    """Refuse `value` unless it has the required fields, no unknown one, and the right types."""
    for name in value:
        if closed and name not in fields:
            raise Refusal(400, f"unknown field {where}{name}")
    for name, field in fields.items():
        if name in value:
            _check_value(value[name], field, where + name)
        elif field.required:
            raise Refusal(400, f"missing field {where}{name}")


def _check_value(value: Any, field: Field, where: str) -> None:
    if value is None and field.nullable:
        return
    if not _is(value, field.kind):
        raise Refusal(400, f"{where} must be of type {field.kind}")
    if field.choices and value not in field.choices:
        raise Refusal(400, f"{where} must be one of {', '.join(field.choices)}")
    low, high = field.low, field.high
    if (low is not None and value < low) or (high is not None and value > high):
        raise Refusal(400, f"{where} must be {low} to {high}")
    if field.fields is not None:
        check_object(value, field.fields, where=f"{where}.", closed=not field.open)


def _is(value: Any, kind: str) -> bool:
    # Python counts a bool as an int; JSON does not.
    return isinstance(value, _TYPES[kind]) and (kind == "boolean" or not isinstance(value, bool))


Reader = Callable[[str, str], Any]


def read_query(call: Call, readers: Mapping[str, Reader]) -> Fields:
    """Read the query by one reader a name; an unknown or doubled name is refused."""
    found: Fields = {}
    for name, value in call.query:
        if name not in readers:
            raise Refusal(400, f"unknown query parameter {name}")
        if name in found:
            raise Refusal(400, f"the query parameter {name} occurs twice")
        found[name] = readers[name](name, value)
    return found


def text(name: str, value: str) -> str:
    """Take any text that is not empty."""
    if not value:
        raise Refusal(400, f"{name} must not be empty")
    return value


def whole(low: int, high: int) -> Reader:
    """Take a whole number from `low` to `high`."""

    def read(name: str, value: str) -> int:
        # isdecimal keeps out signs, spaces and underscores, which int() would take
        if not (value.isascii() and value.isdecimal() and len(value) < 10 and low <= int(value) <= high):
            raise Refusal(400, f"{name} must be a whole number from {low} to {high}")
        return int(value)

    return read


def one_of(*words: str) -> Reader:
    """Take one of the `words`."""

    def read(name: str, value: str) -> str:
        if value not in words:
            raise Refusal(400, f"{name} must be one of {', '.join(words)}")
        return value

    return read


def no_body(call: Call) -> None:
    """Refuse a body where none is documented; an empty JSON object passes, as SDKs send one."""
    if call.body.strip() not in (b"", b"{}"):
        raise Refusal(400, "this operation takes no body")


def bearer(call: Call) -> str:
    """Give the key of the one `Authorization: Bearer` header, or refuse."""
    values = call.header("authorization")
    if len(values) != 1:
        raise Refusal(401, "exactly one Authorization header is needed", "unauthorized")
    scheme, _, key = values[0].partition(" ")
    if scheme.lower() != "bearer" or not key or key != key.strip() or " " in key:
        raise Refusal(401, "the Authorization header must be a bearer token", "unauthorized")
    return admitted(key)


def admitted(key: str) -> str:
    """Give the account a key belongs to: the text before its first colon, else `default`."""
    if key == "refuse-me":
        raise Refusal(401, "the key is not valid", "unauthorized")
    if key == "forbid-me":
        raise Refusal(403, "the key may not do this", "forbidden")
    account, colon, _ = key.partition(":")
    return account if colon and account else "default"
