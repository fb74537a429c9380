"""The kinds of fault that a provider's HTTP can have, each by the order that makes the sandbox play it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from orchestrator.errors import (
    Denied,
    Gone,
    Misread,
    Missing,
    ProviderError,
    Rejected,
    Throttled,
    Transient,
    Unclear,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """An order with options of its own, and what it means to a create, a listing and a read of one."""

    kind: str = "status"
    order: Mapping[str, Any] = field(default_factory=dict)
    create: type[ProviderError] = Unclear
    listing: type[ProviderError] = Transient
    read: type[ProviderError] | None = None
    """As a listing where nothing is said."""
    waits: tuple[float, float] | None = None
    """How many seconds a create and a listing are to wait."""


def _code(code: int, create: type[ProviderError], listing: type[ProviderError], **more: Any) -> Answer:
    return Answer(order={"code": code}, create=create, listing=listing, **more)


def _throttled(given: str | None, create: float, listing: float) -> Answer:
    order = {"code": 429, "retry_after": given}
    return Answer(order=order, create=Throttled, listing=Throttled, waits=(create, listing))


def _applied(code: int) -> Answer:
    return Answer(order={"code": code, "applied": True})


ANSWERS: Mapping[str, Answer] = {
    **{
        f"{code} to another host": Answer(kind="redirect", order={"code": code}, listing=Misread)
        for code in (301, 302, 307, 308)
    },
    "400": _code(400, Rejected, Rejected),
    "401": _code(401, Denied, Denied),
    "403": _code(403, Denied, Denied),
    "404": _code(404, Gone, Gone, read=Missing),
    "408": _code(408, Unclear, Transient),
    "409": _code(409, Unclear, Rejected),
    "422": _code(422, Rejected, Rejected),
    "429 with seconds": _throttled("40", 40, 40),
    "429 with a date": _throttled("date", 60, 60),
    "429 with a negative": _throttled("-5", 15, 1),
    "429 with a huge": _throttled("9" * 40, 86_400, 86_400),
    "429 with no": _throttled(None, 15, 1),
    "500 not applied": Answer(order={"code": 500}),
    **{f"{code} applied": _applied(code) for code in (500, 502, 503, 504)},
}
"""Those that are one fault of the sandbox with many options."""

PLAYED: Mapping[str, str] = {
    "reset before bytes": "refuse",
    "reset after headers": "reset_early",
    "reset after body": "reset_before",
    "reset in reply": "reset_midway",
    "FIN without reply": "drop_before",
    "hang before reply": "hang_before",
    "hang in headers": "hang_headers",
    "hang in body": "hang_body",
    "drip": "drip",
    "truncated body": "truncated",
    "wrong Content-Length": "wrong_length",
    "duplicate Content-Length": "duplicate_length",
    "bad chunk size": "bad_chunk",
    "missing final chunk": "no_last_chunk",
    "garbage status line": "garbage",
    "HTTP/0.9": "http09",
    "100-continue storm": "continue_storm",
    "103": "early_hints",
    "204 for JSON": "no_content",
    "200 empty": "empty",
    "200 HTML": "html",
    "200 JSON null": "null",
    "list instead of object": "array",
    "wrong types": "wrong_types",
    "missing id": "no_id",
    "empty id": "empty_id",
    "id with ../": "dotted_id",
    "id 1 MB": "huge_id",
    "control characters in name": "control_chars",
    "deep JSON": "deep",
    "huge integer": "huge_int",
    "NaN": "nan",
    "BOM": "bom",
    "UTF-16": "utf16",
    "invalid UTF-8": "bad_utf8",
    "gzip bomb": "gzip_bomb",
    "nested gzip": "nested_gzip",
    "unknown encoding": "unknown_encoding",
    "false encoding header": "false_encoding",
    "redirect loop": "redirect_loop",
    "applied late": "applied_late",
    "listed late": "listed_late",
    "listed then hidden": "listed_then_hidden",
    "listed twice": "listed_twice",
    "repeated cursor": "repeated_cursor",
    "endless pages": "endless_pages",
    "page changing while read": "shrinking",
    "clock-skewed dates": "skewed_dates",
    "duplicate names": "doubled",
    "name altered by the provider": "name_altered",
}
"""Those that are one fault of the sandbox as it is."""

BEYOND = {"delay", "drop_after", "reset_after", "hang_after", "odd_status", "quota", "status", "redirect"}
"""Faults of the sandbox that are not on the list by themselves."""
