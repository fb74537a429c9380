"""Requests as the providers' handlers see them, and the answers they give."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

Fields = dict[str, Any]


class Refusal(Exception):
    """The provider says no; carries the status and the words."""

    def __init__(self, status: int, reason: str, code: str = "invalid_request") -> None:
        super().__init__(reason)
        self.status, self.reason, self.code = status, reason, code


@dataclass(frozen=True, kw_only=True, slots=True)
class Reply:
    """An answer before it is put on the wire; `document` is sent as JSON, None is an empty body."""

    status: int = 200
    document: Any = None
    headers: tuple[tuple[str, str], ...] = ()
    empty: bool = False

    def body(self) -> bytes:
        """Give the bytes of the body."""
        return b"" if self.empty else json.dumps(self.document, separators=(",", ":")).encode()


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """One part of a multipart body."""

    name: str
    filename: str | None
    content: bytes

    def summary(self) -> Fields:
        """Describe the part for the ledger without its bytes."""
        digest = hashlib.sha256(self.content).hexdigest()
        return {"field": self.name, "filename": self.filename, "size": len(self.content), "sha256": digest}


@dataclass(kw_only=True, slots=True)
class Call:
    """One request to one provider; `path` is what follows the provider's prefix."""

    provider: str
    method: str
    path: str
    query: list[tuple[str, str]]
    headers: tuple[tuple[str, str], ...]
    body: bytes
    operation: str = "unknown"
    args: Mapping[str, str] = field(default_factory=dict)
    account: str = ""
    prefix: str = ""

    def header(self, name: str) -> list[str]:
        """Give every value of a header: a doubled one must be seen as doubled."""
        return [value for key, value in self.headers if key == name]

    def media_type(self) -> str:
        """Name the type of the body, or an empty string."""
        values = self.header("content-type")
        return values[0].partition(";")[0].strip().lower() if len(values) == 1 else ""

    def document(self) -> Fields:
        """Read the body as a JSON object, or refuse."""
        if self.media_type() != "application/json":
            raise Refusal(400, "the content type must be application/json")
        try:
            value = json.loads(self.body, parse_constant=_no_constant)
        except (ValueError, RecursionError) as error:
            raise Refusal(400, f"the body is not JSON: {error}") from error
        if not isinstance(value, dict):
            raise Refusal(400, "the body must be a JSON object")
        return value

    def form(self) -> list[Part]:
        """Read the body as a form, or refuse."""
        if self.media_type() != "multipart/form-data":
            raise Refusal(400, "the content type must be multipart/form-data")
        return list(_split(self.body, self.header("content-type")[0]))

    def parts(self) -> dict[str, Part]:
        """Read the body as a form whose fields occur once each, or refuse."""
        return by_name(self.form())

    def summary(self) -> Any:
        """Describe the body for the ledger: JSON as it is, files by name, size and hash."""
        if not self.body:
            return None
        try:
            if self.media_type() == "application/json":
                return self.document()
            if self.media_type() == "multipart/form-data":
                return {"parts": [part.summary() for part in self.form()]}
        except Refusal:
            pass  # an unreadable body is still recorded, as bytes
        return {"size": len(self.body), "sha256": hashlib.sha256(self.body).hexdigest()}


def by_name(parts: Iterable[Part]) -> dict[str, Part]:
    """Give the parts by their names, or refuse where a name occurs twice."""
    found: dict[str, Part] = {}
    for part in parts:
        if part.name in found:
            raise Refusal(400, f"the form field {part.name} occurs twice")
        found[part.name] = part
    return found


def _no_constant(word: str) -> None:
    raise ValueError(f"{word} is no JSON number")


def _split(body: bytes, content_type: str) -> Iterator[Part]:
    boundary = _parameter(content_type, "boundary")
    if not boundary:
        raise Refusal(400, "the form has no boundary")
    first, *rest = (b"\r\n" + body).split(b"\r\n--" + boundary.encode())
    if first.strip() or not rest or rest[-1].strip() != b"--":
        raise Refusal(400, "the form is not terminated")
    for chunk in rest[:-1]:
        head, blank, content = chunk.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        if not blank:
            raise Refusal(400, "a part of the form has no header")
        yield _part(head.decode("utf-8", "replace"), content)


def _part(head: str, content: bytes) -> Part:
    for line in head.split("\r\n"):
        key, _, value = line.partition(":")
        if key.strip().lower() == "content-disposition":
            name = _parameter(value, "name")
            if name:
                return Part(name=name, filename=_parameter(value, "filename"), content=content)
    raise Refusal(400, "a part of the form has no name")


def _parameter(value: str, name: str) -> str | None:
    for piece in value.split(";")[1:]:
        key, equals, text = piece.strip().partition("=")
        if equals and key.lower() == name:
            return text.strip().strip('"')
    return None
