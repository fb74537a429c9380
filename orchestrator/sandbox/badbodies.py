"""Faults inside well-formed HTTP: statuses, redirects, encodings, and bodies that are not as expected."""

import gzip
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import cache
from typing import Any

from orchestrator.sandbox.fault import EVERYWHERE, SHOWS, Answer, Fault
from orchestrator.sandbox.wire import Call, Fields

_JSON = ("content-type", "application/json")
_HOLDERS = ("data", "fine_tunes", "finetuned_models", "datasets", "fine_tune", "finetuned_model", "result")
_DATES = frozenset(
    ("created_at", "updated_at", "modified_at", "completed_at", "inserted_at", "started_at", "finished_at")
)
Spoil = Callable[[Answer, Fields, Call], Answer]


def rows(document: Any) -> list[Fields]:
    """Find the objects an answer shows, whatever the envelope: they may be changed in place."""
    if not isinstance(document, dict):
        return []
    for key in _HOLDERS:
        held = document.get(key)
        if isinstance(held, list):
            return [row for row in held if isinstance(row, dict)]
        if isinstance(held, dict):
            return [held]
    return [document]


def _body(make: Callable[[bytes], bytes], *headers: tuple[str, str]) -> Spoil:
    def spoil(answer: Answer, _: Fields, __: Call) -> Answer:
        return Answer(status=answer.status, body=make(answer.body), headers=headers or (_JSON,))

    return spoil


def _each(change: Callable[[Fields, Fields], None]) -> Spoil:
    def spoil(answer: Answer, options: Fields, _: Call) -> Answer:
        document = json.loads(answer.body or b"{}")
        for row in rows(document):
            change(row, options)
        return Answer(status=answer.status, body=json.dumps(document).encode(), headers=answer.headers)

    return spoil


def _inject(text: bytes) -> Callable[[bytes], bytes]:
    def make(body: bytes) -> bytes:
        rest = body[1:] if body.startswith(b"{") else b"}"
        return b"{" + text + (b"" if rest.startswith(b"}") else b",") + rest

    return make


def _wrong_types(row: Fields, _: Fields) -> None:
    row.update(id=42, name=["a", "b"], status={"word": 1})


def _set_id(value: str) -> Callable[[Fields, Fields], None]:
    return lambda row, _: row.update(id=value)


def _control(row: Fields, _: Fields) -> None:
    for key in ("name", "description", "status"):
        if isinstance(row.get(key), str):
            row[key] = "\x1b]0;title\x07\x1b[31m\u202e\u200b\r\n\x00" + row[key]


def _odd_status(row: Fields, options: Fields) -> None:
    row["status"] = options["word"]


def _skew(row: Fields, options: Fields) -> None:
    for key in _DATES & row.keys():
        if isinstance(row[key], str):
            moved = datetime.fromisoformat(row[key]) + timedelta(seconds=float(options["seconds"]))
            row[key] = moved.isoformat().replace("+00:00", "Z")


def _status(answer: Answer, options: Fields, _: Call) -> Answer:
    code, wait = int(options["code"]), options["retry_after"]
    if wait == "date":
        wait = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    headers = (_JSON, ("retry-after", str(wait))) if wait is not None else (_JSON,)
    message = f"the sandbox was told to answer {code}"
    body = {
        "message": message,
        "title": "Sandbox fault",
        "error_code": "sandbox_fault",
        "request_id": "sandbox",
        "status": "error",
        "status_message": message,
        "success": False,
        "errors": [{"code": code, "message": message}],
        "messages": [],
        "result": None,
    }
    return Answer(status=code, body=b"" if code == 304 else json.dumps(body).encode(), headers=headers)


def _quota(answer: Answer, options: Fields, _: Call) -> Answer:
    spent = ("ratelimit", f'"default";r={options["left"]};t={options["seconds"]}')
    return Answer(status=answer.status, body=answer.body, headers=(*answer.headers, spent))


def _redirect(answer: Answer, options: Fields, call: Call) -> Answer:
    where = str(options["location"]).rstrip("/") + call.path
    return Answer(status=int(options["code"]), body=b"", headers=(("location", where),))


def _loop(answer: Answer, options: Fields, call: Call) -> Answer:
    here = f"http://{(call.header('host') or ['127.0.0.1'])[0]}{call.prefix}{call.path}"
    return Answer(status=int(options["code"]), body=b"", headers=(("location", here),))


@cache
def _bomb(megabytes: int) -> bytes:
    return gzip.compress(b'{"pad":"' + b"0" * (megabytes << 20) + b'"}', compresslevel=1)


def _gzip_bomb(answer: Answer, options: Fields, _: Call) -> Answer:
    body = _bomb(int(options["megabytes"]))
    return Answer(status=answer.status, body=body, headers=(_JSON, ("content-encoding", "gzip")))


def _no_content(_: Answer, __: Fields, ___: Call) -> Answer:
    return Answer(status=204, body=b"", headers=())


def _fault(text: str, spoil: Spoil, on: frozenset[str] = EVERYWHERE, **options: object) -> Fault:
    return Fault(f"done, {text}", on, True, options, spoil=spoil)


_DEPTH = 100_000
_HTML = b"<!doctype html><title>502</title><h1>Bad gateway</h1>"

BODY_FAULTS: Mapping[str, Fault] = {
    "status": Fault(
        "the status `code`, with `retry_after` (any text, or the word date); not done unless applied",
        EVERYWHERE,
        False,
        {"code": 500, "retry_after": None},
        spoil=_status,
    ),
    "quota": Fault(
        "done, with Cloudflare's `Ratelimit`: `left` requests in the next `seconds`",
        EVERYWHERE,
        True,
        {"left": 0, "seconds": 30},
        spoil=_quota,
    ),
    "redirect": Fault(
        "a redirect `code` to the host `location`; not done unless applied",
        EVERYWHERE,
        False,
        {"code": 307, "location": "http://redirect.invalid"},
        spoil=_redirect,
    ),
    "redirect_loop": Fault(
        "a redirect `code` to the same address; not done", EVERYWHERE, False, {"code": 307}, spoil=_loop
    ),
    "no_content": _fault("204 and no body", _no_content),
    "empty": _fault("no body", _body(lambda _: b"")),
    "html": _fault("an HTML page", _body(lambda _: _HTML, ("content-type", "text/html"))),
    "null": _fault("the JSON value null", _body(lambda _: b"null")),
    "array": _fault("a list in place of an object", _body(lambda body: b"[" + body + b"]")),
    "wrong_types": _fault("id, name and status of other types", _each(_wrong_types), SHOWS),
    "no_id": _fault("objects without an id", _each(lambda row, _: (row.pop("id", None), None)[1]), SHOWS),
    "empty_id": _fault("objects with an empty id", _each(_set_id("")), SHOWS),
    "dotted_id": _fault("an id that climbs out of its path", _each(_set_id("../../admin")), SHOWS),
    "huge_id": _fault("an id of one megabyte", _each(_set_id("x" * (1 << 20))), SHOWS),
    "control_chars": _fault("control and bidirectional characters in texts", _each(_control), SHOWS),
    "odd_status": _fault("the status `word`", _each(_odd_status), SHOWS, word="simmering"),
    "skewed_dates": _fault("dates moved by `seconds`", _each(_skew), SHOWS, seconds=31_536_000),
    "deep": _fault("100,000 nested objects", _body(lambda _: b'{"a":' * _DEPTH + b"1" + b"}" * _DEPTH)),
    "huge_int": _fault("an integer of 10,000 digits", _body(_inject(b'"size":' + b"9" * 10_000))),
    "nan": _fault("the number NaN", _body(_inject(b'"size":NaN'))),
    "bom": _fault("a byte order mark before the JSON", _body(lambda body: b"\xef\xbb\xbf" + body)),
    "utf16": _fault("JSON in UTF-16", _body(lambda body: body.decode().encode("utf-16"))),
    "bad_utf8": _fault("bytes that are no UTF-8", _body(_inject(b'"note":"\xff\xfe"'))),
    "gzip_bomb": _fault("gzip that grows to `megabytes`", _gzip_bomb, megabytes=64),
    "nested_gzip": _fault(
        "gzip inside gzip",
        _body(lambda body: gzip.compress(gzip.compress(body)), _JSON, ("content-encoding", "gzip, gzip")),
    ),
    "unknown_encoding": _fault(
        "an encoding nobody knows", _body(lambda body: body[::-1], _JSON, ("content-encoding", "x-sandbox"))
    ),
    "false_encoding": _fault(
        "plain JSON said to be gzip", _body(lambda body: body, _JSON, ("content-encoding", "gzip"))
    ),
}
