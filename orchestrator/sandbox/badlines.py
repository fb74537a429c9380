"""Faults below HTTP: connections that break, hang or drip, and framing that lies."""

from collections.abc import Iterator, Mapping
from functools import partial

from orchestrator.sandbox.fault import EVERYWHERE, Answer, End, Fault
from orchestrator.sandbox.wire import Fields

Steps = Iterator[bytes | float | End]


def head(answer: Answer, *framing: str) -> bytes:
    """Write the status line and headers with the given framing headers."""
    headers = [f"{name}: {value}" for name, value in answer.headers]
    lines = [f"HTTP/1.1 {answer.status} Sandbox", *headers, *framing, "connection: close", "", ""]
    return "\r\n".join(lines).encode("latin-1")


def whole(answer: Answer) -> bytes:
    """Write a faultless answer."""
    return head(answer, f"content-length: {len(answer.body)}") + answer.body


def _end(_: Answer, __: Fields, *, how: End) -> Steps:
    yield how


def _delay(answer: Answer, options: Fields) -> Steps:
    yield float(options["seconds"])
    yield whole(answer)
    yield End.CLOSE


def _part(answer: Answer, _: Fields, *, body: bool, how: End) -> Steps:
    sent = whole(answer)
    start = len(sent) - len(answer.body)
    yield sent[: start + len(answer.body) // 2 if body else start // 2]
    if how is End.RESET:
        yield 0.05  # so that the client has read it: a reset throws away what is under way
    yield how


def _drip(answer: Answer, options: Fields) -> Steps:
    for byte in whole(answer):
        yield bytes([byte])
        yield float(options["interval"])
    yield End.CLOSE


def _wrong_length(answer: Answer, _: Fields) -> Steps:
    yield head(answer, f"content-length: {max(1, len(answer.body) - 5)}") + answer.body
    yield End.CLOSE


def _duplicate_length(answer: Answer, _: Fields) -> Steps:
    size = len(answer.body)
    yield head(answer, f"content-length: {size}", f"content-length: {size + 7}") + answer.body
    yield End.CLOSE


def _bad_chunk(answer: Answer, _: Fields) -> Steps:
    yield head(answer, "transfer-encoding: chunked") + b"zz\r\n" + answer.body + b"\r\n0\r\n\r\n"
    yield End.CLOSE


def _no_last_chunk(answer: Answer, _: Fields) -> Steps:
    size = f"{len(answer.body):x}\r\n".encode()
    yield head(answer, "transfer-encoding: chunked") + size + answer.body + b"\r\n"
    yield End.CLOSE


def _garbage(_: Answer, __: Fields) -> Steps:
    yield b"\x16\x03\x01 this is not HTTP\r\n\r\n"
    yield End.CLOSE


def _http09(answer: Answer, _: Fields) -> Steps:
    yield answer.body
    yield End.CLOSE


def _interim(answer: Answer, options: Fields, *, line: bytes) -> Steps:
    yield line * int(options["count"]) + whole(answer)
    yield End.CLOSE


_SECONDS = {"seconds": 1.0}
_HINT = b"HTTP/1.1 103 Early Hints\r\nlink: </x>; rel=preload\r\n\r\n"

LINE_FAULTS: Mapping[str, Fault] = {
    "delay": Fault(
        "the answer comes `seconds` late; the request is applied at once", EVERYWHERE, True, _SECONDS, _delay
    ),
    "drop_before": Fault(
        "the connection is closed with no answer, nothing done",
        EVERYWHERE,
        False,
        {},
        partial(_end, how=End.CLOSE),
    ),
    "drop_after": Fault(
        "done, then closed with no answer", EVERYWHERE, True, {}, partial(_end, how=End.CLOSE)
    ),
    "reset_early": Fault(
        "reset (RST) once the head of the request is read, nothing done",
        EVERYWHERE,
        False,
        {},
        partial(_end, how=End.RESET),
        early=True,
    ),
    "reset_before": Fault(
        "reset (RST) with nothing done", EVERYWHERE, False, {}, partial(_end, how=End.RESET)
    ),
    "reset_after": Fault(
        "done, then reset with no answer", EVERYWHERE, True, {}, partial(_end, how=End.RESET)
    ),
    "reset_midway": Fault(
        "done, reset in the middle of the body",
        EVERYWHERE,
        True,
        {},
        partial(_part, body=True, how=End.RESET),
    ),
    "hang_before": Fault(
        "no answer until the client gives up, nothing done",
        EVERYWHERE,
        False,
        {},
        partial(_end, how=End.HANG),
    ),
    "hang_after": Fault(
        "done, no answer until the client gives up", EVERYWHERE, True, {}, partial(_end, how=End.HANG)
    ),
    "hang_headers": Fault(
        "done, the answer stops in its headers",
        EVERYWHERE,
        True,
        {},
        partial(_part, body=False, how=End.HANG),
    ),
    "hang_body": Fault(
        "done, the answer stops in its body", EVERYWHERE, True, {}, partial(_part, body=True, how=End.HANG)
    ),
    "drip": Fault("done, one byte every `interval` seconds", EVERYWHERE, True, {"interval": 1.0}, _drip),
    "truncated": Fault(
        "done, closed in the middle of the body",
        EVERYWHERE,
        True,
        {},
        partial(_part, body=True, how=End.CLOSE),
    ),
    "wrong_length": Fault("done, Content-Length is 5 too small", EVERYWHERE, True, {}, _wrong_length),
    "duplicate_length": Fault(
        "done, two Content-Lengths that differ", EVERYWHERE, True, {}, _duplicate_length
    ),
    "bad_chunk": Fault("done, a chunk size that is no number", EVERYWHERE, True, {}, _bad_chunk),
    "no_last_chunk": Fault("done, closed before the last chunk", EVERYWHERE, True, {}, _no_last_chunk),
    "garbage": Fault("done, bytes that are no HTTP", EVERYWHERE, True, {}, _garbage),
    "http09": Fault("done, the bare body as in HTTP/0.9", EVERYWHERE, True, {}, _http09),
    "continue_storm": Fault(
        "done, `count` times 100 Continue before the answer",
        EVERYWHERE,
        True,
        {"count": 1000},
        partial(_interim, line=b"HTTP/1.1 100 Continue\r\n\r\n"),
    ),
    "early_hints": Fault(
        "done, 103 before the answer", EVERYWHERE, True, {"count": 1}, partial(_interim, line=_HINT)
    ),
}
