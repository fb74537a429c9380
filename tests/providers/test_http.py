"""The one way to a provider, against canned bytes: meaning of codes, caps, deadlines, redaction."""

import base64
import contextlib
import gzip
import io
import json
import logging
import socket
import traceback
from collections.abc import Generator
from functools import partial
from typing import Any

import anyio
import httpx
import pytest

from orchestrator.errors import (
    Denied,
    Gone,
    Misread,
    Missing,
    NotSent,
    ProviderError,
    Rejected,
    Throttled,
    Transient,
    Unclear,
)
from orchestrator.net.exchange import quiet_loggers
from orchestrator.providers._http import Call, Http, exchanged
from orchestrator.providers._limit import Limiter

from .canned import KEY, address, canned, http, reply

CREATE = {
    **dict.fromkeys((400, 405, 413, 415, 422), Rejected),
    **dict.fromkeys((401, 402, 403, 498), Denied),
    **dict.fromkeys((404, 410), Gone),
    429: Throttled,
}
READ = {
    **dict.fromkeys((401, 402, 403, 498), Denied),
    **dict.fromkeys((408, 425), Transient),
    404: Missing,
    429: Throttled,
}


def meaning(code: int, *, creating: bool) -> type[ProviderError]:
    """Say by the tables of the design what a code means."""
    if creating:
        return CREATE.get(code, Unclear)
    if code < 400:
        return Misread
    return READ.get(code, Transient if code >= 500 else Rejected)


async def failure(http: Http, **options: Any) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        await http.call("POST" if options.get("creating") else "GET", "/x", **options)
    return caught.value


@pytest.mark.parametrize("creating", [False, True])
async def test_every_code_means_what_the_table_says(creating: bool) -> None:
    for code in range(201, 600):
        answer = reply(code, b"" if code in (204, 304) else b'{"message": "no"}')
        async with canned(answer) as server, http(server.url) as client:
            error = await failure(client, creating=creating)
        assert type(error) is meaning(code, creating=creating), code
        assert error.code == code


async def test_a_switch_of_protocols_says_nothing() -> None:
    async with canned(reply(101)) as server, http(server.url) as client:
        assert type(await failure(client)) is Transient
        assert type(await failure(client, creating=True)) is Unclear


async def test_an_endpoint_that_is_unknown_is_gone() -> None:
    for code in (404, 410):
        async with canned(reply(code)) as server, http(server.url) as client:
            assert type(await failure(client, endpoint=True)) is Gone


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"message": "no such voice", "title": "Bad"}', "no such voice"),
        (b'{"title": "Bad"}', "Bad"),
        (b'{"status": "error", "status_message": "bad data"}', "bad data"),
        (
            b'{"status_message": "bad_request", "error": {"title": "Bad Request", "detail": "not both"}}',
            "not both",
        ),
        (b'{"status_message": "resource_not_found", "status_description": "no such repo"}', "no such repo"),
        (b'{"success": false, "errors": [{"code": 1, "message": "a"}, {"message": "b"}]}', "a; b"),
        (b'{"error": {"message": "inner"}}', "inner"),
        (
            b'{"detail": [{"loc": ["body", "x"], "msg": "field required"}, {"msg": "too long"}]}',
            "field required; too long",
        ),
        (b"plain text", "plain text"),
        (b'"a string"', "a string"),
        (b"<html><h1>502</h1></html>", ""),
        (b'{"unknown": 1}', ""),
        (b"", ""),
        (b"[[[[", ""),
    ],
)
async def test_the_providers_own_words_are_told(body: bytes, said: str) -> None:
    async with canned(reply(422, body)) as server, http(server.url) as client:
        error = await failure(client, params={"secret": "query"})
    assert error.message == f"GET /x answered 422{': ' if said else ''}{said}"


async def test_words_are_safe_to_show() -> None:
    nasty = "\x1b[31mred\x1b[0m \u202eevil\u200b\x00\r\nline" + "x" * 2000
    answer = reply(400, json.dumps({"message": nasty}).encode())
    async with canned(answer) as server, http(server.url) as client:
        error = await failure(client)
    words = error.message.removeprefix("GET /x answered 400: ")
    assert words.startswith("[31mred[0m evil linexxx")
    assert len(words) == 500


@pytest.mark.parametrize(
    "shape",
    [KEY, KEY.replace("/", "%2F").replace("+", "%2B"), base64.b64encode(KEY.encode()).decode()],
)
@pytest.mark.parametrize("status", [200, 400, 500])
async def test_an_echoed_key_is_redacted(shape: str, status: int) -> None:
    hidden = "x" * 490 + shape  # the cut falls into it
    answer = reply(status, json.dumps({"message": hidden, "key": shape}).encode())
    async with canned(answer) as server, http(server.url) as client:
        if status == 200:
            shown = repr((await client.call("GET", "/x")).payload)
        else:
            shown = "".join(traceback.format_exception(await failure(client, creating=True)))
    assert shape[:8] not in shown


@pytest.mark.parametrize(
    "written",
    [
        KEY.replace("/", "\\/"),
        KEY.replace("+", "\\u002B"),
        KEY.replace("k", "k\u200b"),
        KEY.replace("k", "k\\u00ad"),
        KEY.encode().hex(),
        base64.b64encode(f"Bearer {KEY}".encode()).decode(),
        KEY.replace("/", "%2f"),
        KEY.replace("/", "&#47;"),
    ],
)
@pytest.mark.parametrize("status", [200, 400])
async def test_a_key_is_looked_for_in_what_was_meant(written: str, status: int) -> None:
    answer = reply(status, f'{{"message": "your key {written} is wrong"}}'.encode())
    async with canned(answer) as server, http(server.url) as client:
        if status == 200:
            shown = (await client.call("GET", "/x")).payload["message"]
        else:
            shown = (await failure(client)).message.removeprefix("GET /x answered 400: ")
    assert shown == "your key *** is wrong"


@pytest.mark.parametrize(
    "answer",
    [
        reply(200, b"not json"),
        reply(200, b'{"a": NaN}'),
        reply(200, b'{"a": 1e999}'),
        reply(200, b'{"a": ' + b"9" * 10_000 + b"}"),
        reply(200, b"[" * 100_000 + b"]" * 100_000),
        reply(200, b"[" * 33 + b"]" * 33),
        reply(200, b"\xef\xbb\xbf{}"),
        reply(200, "{}".encode("utf-16")),
        reply(200, b'{"a": "\xff"}'),
        reply(200, b"{}", {"Content-Encoding": "gzip"}),
        reply(200, b"{}", {"Content-Encoding": "br"}),
        reply(200, gzip.compress(gzip.compress(b"{}", mtime=0), mtime=0), {"Content-Encoding": "gzip, gzip"}),
        reply(200, gzip.compress(b"{}", mtime=0)[:-4], {"Content-Encoding": "gzip"}),
        reply(200, gzip.compress(b" " * (17 << 20), mtime=0), {"Content-Encoding": "gzip"}),
        reply(200, b" " * (5 << 20)),
        reply(200, b"[" + b"[]," * 600_000 + b"[]]"),
    ],
)
async def test_an_answer_that_cannot_be_read(answer: bytes) -> None:
    async with canned(answer) as server, http(server.url) as client:
        assert type(await failure(client)) is Misread
        assert type(await failure(client, creating=True)) is Unclear


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\x16\x03\x01 rubbish\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 9\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n",
        f"HTTP/1.1 {KEY}\r\n\r\n".encode(),
    ],
)
async def test_an_answer_that_breaks_off(answer: bytes) -> None:
    async def serve(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            await stream.receive()
            if answer:
                await stream.send(answer)

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    async with listener, anyio.create_task_group() as tasks, http(address(listener)) as client:
        tasks.start_soon(listener.serve, serve)
        for creating in (False, True):
            error = await failure(client, creating=creating)
            assert type(error) is (Unclear if creating else Transient)
            assert KEY not in error.message
        tasks.cancel_scope.cancel()


async def test_what_was_surely_not_sent() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    cases: list[tuple[str, dict[str, Any]]] = [
        (f"http://127.0.0.1:{port}", {}),
        ("gopher://127.0.0.1", {}),
        ("http://no-such-host.invalid", {}),
        ("http://[::bad", {}),
        (f"http://127.0.0.1:{port}", {"json": {"a": float("nan")}}),
        (f"http://127.0.0.1:{port}", {"json": {"a": object()}}),
        (f"http://127.0.0.1:{port}", {"json": {"a": "\ud800"}}),
    ]
    for url, options in cases:
        async with http(url) as client:
            assert type(await failure(client, creating=True, **options)) is NotSent, (url, options)


async def test_a_deadline_is_for_the_whole_exchange() -> None:
    arrived: list[bytes] = []

    async def drip(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            with contextlib.suppress(anyio.BrokenResourceError, anyio.EndOfStream):
                arrived.append(await stream.receive())
                for byte in reply(200, b" " * 1000):
                    await stream.send(bytes([byte]))
                    await anyio.sleep(0.02)

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    slow = http(address(listener), deadline=0.15)
    async with listener, anyio.create_task_group() as tasks, slow as client:
        tasks.start_soon(listener.serve, drip)
        assert type(await failure(client)) is Transient
        # On a busy machine the deadline may come before anything was sent, which is no doubt.
        while type(await failure(client, creating=True)) is not Unclear:
            assert not any(request.startswith(b"POST") for request in arrived)
        tasks.cancel_scope.cancel()


async def test_creates_use_a_connection_each_and_reads_share_one() -> None:
    async with canned(reply()) as server, http(server.url) as client:
        for _ in range(3):
            await client.call("GET", "/x")
        assert server.connections == 1
        for _ in range(3):
            await client.call("POST", "/x", json={}, creating=True)
        assert server.connections == 4
    assert b"connection: close" in server.requests[-1].lower()
    assert all(b"accept-encoding: gzip\r\n" in request.lower() for request in server.requests)


async def test_no_redirect_is_followed_and_no_cookie_kept() -> None:
    async with canned(b"") as other, canned(b"") as server, http(server.url) as client:
        server.answer = reply(307, b"", {"Location": other.url, "Set-Cookie": "session=1"})
        error = await failure(client, creating=True)
        assert type(error) is Unclear
        assert "base_url" in error.message
        await failure(client)
        assert other.requests == []
        assert not any(b"cookie" in request.lower() for request in server.requests)


async def test_gzip_is_read() -> None:
    body = gzip.compress(b'{"a": [1.5, "b"]}')
    async with canned(reply(200, body, {"Content-Encoding": "gzip"})) as server, http(server.url) as client:
        assert (await client.call("GET", "/x")).payload == {"a": [1.5, "b"]}


async def test_a_throttle_pushes_the_next_requests_back() -> None:
    async with canned(reply(429, b"", {"Retry-After": "100"})) as server, http(server.url) as client:
        assert (await failure(client)).retry_after == 100
        waiting = await failure(client)
        assert type(waiting) is NotSent
        assert waiting.retry_after == pytest.approx(100, abs=5)
        assert len(server.requests) == 1


@pytest.mark.parametrize(("given", "wait"), [(None, 15), ("3", 15), ("40", 40), ("soon", 15), ("-5", 15)])
async def test_a_throttled_create_waits_its_least(given: str | None, wait: float) -> None:
    headers = {"Retry-After": given} if given else {}
    async with canned(reply(429, b"", headers)) as server, http(server.url) as client:
        assert (await failure(client, creating=True)).retry_after == wait


async def test_a_spent_quota_is_heeded() -> None:
    answer = reply(200, b"{}", {"Ratelimit": '"default";r=0;t=30'})
    async with canned(answer) as server, http(server.url) as client:
        await client.call("GET", "/x")
        assert type(await failure(client)) is NotSent


async def test_a_form_is_sent_as_it_is_documented() -> None:
    async with canned(reply()) as server, http(server.url) as client:
        files = {"file": ("a.json", io.BytesIO(b"content"))}
        await client.call("POST", "/x", data={"file_name": "a.json"}, files=files)
    [sent] = server.requests
    assert sent.index(b'name="file_name"') < sent.index(b'name="file"; filename="a.json"')
    assert b"content" in sent


async def test_the_clients_own_logs_are_never_loud(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    quiet_loggers()
    logging.getLogger("httpx").setLevel(logging.DEBUG)
    logging.getLogger("httpcore.http11").setLevel(logging.DEBUG)
    async with canned(reply()) as server, http(server.url) as client:
        await client.call("GET", "/x", params={"token": "t"})
    quiet_loggers()
    assert not [entry for entry in caplog.records if entry.name.startswith("http")]
    assert logging.getLogger("httpx").level == logging.WARNING
    assert len(logging.getLogger("httpx").filters) == 1


async def test_a_cancelled_call_is_cancelled() -> None:
    sent = anyio.Event()

    async def hang(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            await stream.receive()
            sent.set()
            with contextlib.suppress(anyio.EndOfStream):
                await stream.receive()

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    async with listener, anyio.create_task_group() as tasks, http(address(listener)) as client:
        tasks.start_soon(listener.serve, hang)
        async with anyio.create_task_group() as callers:
            callers.start_soon(partial(client.call, "POST", "/x", json={}, creating=True))
            await sent.wait()
            callers.cancel_scope.cancel()
        tasks.cancel_scope.cancel()


async def test_what_may_leave_no_more_is_not_sent() -> None:
    async with canned(reply()) as server, http(server.url) as client:
        client.may_change = lambda: False
        assert (await client.call("GET", "/x")).status == 200
        for creating in (True, False):
            with pytest.raises(NotSent, match="stood still"):
                await client.call("POST", "/x", json={}, creating=creating)
    assert [request[:4] for request in server.requests] == [b"GET "]


class Again(httpx.Auth):
    """Where a request is refused, asks elsewhere for another token, and makes it a second time."""

    def __init__(self, tokens: str) -> None:
        self._tokens = tokens

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        response = yield request
        if response.status_code >= 400:
            yield httpx.Request("POST", self._tokens)
            yield request


async def test_no_auth_sends_twice_what_changes_something() -> None:
    async with canned(reply(401)) as server, canned(b"") as tokens:
        client = Http(server.url, Again(tokens.url), Limiter(1000))
        for code, expected in ((401, Denied), (500, Unclear)):
            server.answer = reply(code)
            with pytest.raises(expected):
                await client.call("POST", "/x", json={}, creating=True)
        with pytest.raises(Transient):
            await client.call("DELETE", "/x")
        assert (len(server.requests), tokens.requests) == (3, [])
        tokens.answer = reply()
        with pytest.raises(Transient):
            await client.call("GET", "/x")
        assert len(server.requests) == 5
        await client.close()


async def test_a_deadline_that_ends_a_connection_attempt_proves_that_nothing_left() -> None:
    with socket.socket() as door, contextlib.ExitStack() as held:
        door.bind(("127.0.0.1", 0))
        door.listen(0)
        for _ in range(4):
            waiting = held.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(door.getsockname())
        url = f"http://127.0.0.1:{door.getsockname()[1]}"
        async with http(url) as client:
            with anyio.fail_after(2):
                for creating in (False, True):
                    call = Call(
                        name="x", expect=(200,), ends=anyio.current_time() + 0.1, connect=5, creating=creating
                    )
                    with pytest.raises(NotSent):
                        await exchanged(client._connections, [httpx.Request("GET", url)], call)
