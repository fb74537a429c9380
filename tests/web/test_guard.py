"""Who may ask: host names, origins, tokens, sizes; and what stands on every answer."""

import socket
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import anyio
import httpx
import pytest

from orchestrator.config.manifest import Settings
from orchestrator.web.guard import HEADERS, Gate, Message, Receive, Send, guarded
from orchestrator.web.listen import listening
from orchestrator.web.server import CONNECTIONS, serve

from .daemon import AUTH, HALF, TOKEN, Daemon, running

CANCEL = "/api/v1/jobs/narrator/cancel"
OURS = dict(HEADERS)


def raw(daemon: Daemon, request: str) -> bytes:
    """Send bytes and return all that comes until the connection ends."""
    parts = urlsplit(daemon.url)
    seen = bytearray()
    with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=20) as link:
        link.sendall(request.replace("PORT", str(parts.port)).replace("\n", "\r\n").encode("latin-1"))
        while chunk := link.recv(65536):
            seen += chunk
    return bytes(seen)


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "localhost:PORT",
        "LocalHost:PORT",
        "localhost.",
        "localhost.:PORT",
        "localhost:",
        "localhost:9999",
        "127.0.0.1",
        "127.0.0.1:PORT",
        "127.0.0.1.:PORT",
        "[::1]",
        "[::1]:PORT",
        "[0:0:0:0:0:0:0:1]:PORT",
    ],
)
def test_a_host_of_our_own(settled: Daemon, host: str) -> None:
    answer = raw(settled, f"GET /healthz HTTP/1.1\nhost: {host}\nconnection: close\n\n")
    assert answer.startswith(b"HTTP/1.1 200 "), answer


@pytest.mark.parametrize(
    ("host", "code"),
    [
        ("evil.example", 421),
        ("evil.example:PORT", 421),
        ("localhost.evil.example", 421),
        ("evil-localhost", 421),
        ("127.0.0.1.evil.example:PORT", 421),
        ("localhost..", 421),
        ("127.1", 421),
        ("2130706433", 421),
        ("0.0.0.0:PORT", 421),
        ("[::]", 421),
        ("[::ffff:127.0.0.1]", 421),
        ("[::1", 421),
        ("::1", 421),
        ("localhost:port", 421),
        ("localhost:123456", 421),
        ("localhost@evil.example", 421),
        ("evil.example@localhost", 421),
        ("localhost/evil", 421),
        ("localhost,evil.example", 421),
        ("localhost evil.example", 421),
        ("xn--localhost-", 421),
        ("", 421),
        ("localhost\nhost: evil.example", 400),
        ("localhost\nhost: localhost", 400),
    ],
)
def test_a_host_of_somebody_else(settled: Daemon, host: str, code: int) -> None:
    answer = raw(settled, f"GET /api/v1/jobs HTTP/1.1\nhost: {host}\nconnection: close\n\n")
    assert answer.startswith(f"HTTP/1.1 {code} ".encode()), answer
    assert b"narrator" not in answer


@pytest.mark.parametrize(
    "line",
    [
        "GET http://evil.example/api/v1/jobs HTTP/1.1\nhost: localhost\n",
        "GET http://localhost/api/v1/jobs HTTP/1.1\nhost: localhost\n",
        "OPTIONS * HTTP/1.1\nhost: localhost\n",
        "CONNECT localhost:80 HTTP/1.1\nhost: localhost\n",
        "GET /healthz HTTP/1.1\n",
        "NONSENSE\n",
        "GET /healthz HTTP/1.1\nhost: localhost\ncontent-length: many\n",
        f"POST /healthz HTTP/1.1\nhost: localhost\ncontent-length: {'9' * 5000}\n",
    ],
)
def test_a_malformed_request_gets_a_plain_no(settled: Daemon, line: str) -> None:
    answer = raw(settled, f"{line}connection: close\n\n")
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 "), answer[:300]
    assert b"content-security-policy: default-src 'none'" in head
    assert body.startswith(b'{"error":')


def test_http_1_0_without_a_host(settled: Daemon) -> None:
    assert raw(settled, "GET /healthz HTTP/1.0\n\n").startswith(b"HTTP/1.1 421 ")


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://localhost:1"},
        {"origin": "http://127.0.0.1"},
        {"origin": "file://"},
        {"origin": ""},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"sec-fetch-site": "new-word"},
        {"sec-fetch-site": "cross-site", "origin": "SELF"},
    ],
)
def test_another_site_changes_nothing(settled: Daemon, headers: Mapping[str, str]) -> None:
    sent = {name: value.replace("SELF", settled.url) for name, value in headers.items()}
    reply = settled.client.post(CANCEL, headers={**AUTH, **sent})
    assert (reply.status_code, reply.json()["error"]) == (
        403,
        "a request from another site cannot change anything",
    )


@pytest.mark.parametrize(
    "headers",
    [{}, {"origin": "SELF"}, {"origin": "SELF", "sec-fetch-site": "same-origin"}, {"sec-fetch-site": "none"}],
)
def test_our_own_site_may(settled: Daemon, headers: Mapping[str, str]) -> None:
    sent = {name: value.replace("SELF", settled.url) for name, value in headers.items()}
    assert settled.client.post(CANCEL, headers={**AUTH, **sent}).status_code == 409  # it has succeeded


def test_following_a_link_from_another_site_reads(settled: Daemon) -> None:
    reply = settled.client.get("/api/v1/jobs", headers={"sec-fetch-site": "cross-site"})
    assert reply.status_code == 200
    assert not [name for name in reply.headers if name.startswith("access-control-")]


@pytest.mark.parametrize(
    ("given", "code"),
    [
        (f"Bearer {TOKEN}", 409),
        (f"bearer  {TOKEN}", 409),
        (None, 401),
        ("", 401),
        (TOKEN, 401),
        ("Bearer", 401),
        (f"Basic {TOKEN}", 401),
        (f"Bearer {TOKEN}x", 401),
        (f"Bearer {TOKEN[:-1]}", 401),
        (f"Bearer {TOKEN} {TOKEN}", 401),
        (f"Bearer {TOKEN.upper()}", 401),
        ("Bearer t\xf6ken", 401),
    ],
)
def test_a_change_takes_the_token(settled: Daemon, given: str | None, code: int) -> None:
    headers = [] if given is None else [(b"authorization", given.encode("latin-1"))]
    reply = settled.client.post(CANCEL, headers=headers)
    assert reply.status_code == code
    assert reply.headers.get("www-authenticate") == ("Bearer" if code == 401 else None)
    assert TOKEN not in reply.text


def test_two_tokens_are_none(settled: Daemon) -> None:
    headers = [("authorization", f"Bearer {TOKEN}"), ("authorization", "Bearer other")]
    assert settled.client.post(CANCEL, headers=headers).status_code == 401


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "TRACE", "BREW"])
@pytest.mark.parametrize("path", ["/healthz", "/api/v1/jobs/narrator", "/nowhere"])
def test_no_method_that_may_change_goes_without(settled: Daemon, method: str, path: str) -> None:
    assert settled.client.request(method, path).status_code == 401
    assert settled.client.request(method, path, headers=AUTH).status_code in (404, 405)


@pytest.mark.parametrize("token", [None, "  "])
def test_without_a_configured_token_nothing_is_changed(tmp_path: Path, token: str | None) -> None:
    with running(tmp_path, ORCHESTRATOR_TOKEN=token) as daemon:
        client = daemon.listen()
        for headers in ({}, {"authorization": "Bearer"}, AUTH):
            reply = client.post(CANCEL, headers=headers)
            assert reply.status_code == 403
            assert "ORCHESTRATOR_TOKEN" in reply.json()["hint"]
        assert client.get("/api/v1/jobs").status_code == 200


@pytest.fixture(scope="module")
def exposed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon that other machines reach."""
    with running(tmp_path_factory.mktemp("exposed"), ORCHESTRATOR_LISTEN="0.0.0.0:0") as daemon:
        daemon.listen()
        daemon.client.base_url = httpx.URL(f"http://127.0.0.1:{urlsplit(daemon.url).port}")
        yield daemon


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/openapi.json", "/api/v1/jobs", "/nowhere"])
def test_off_loopback_everything_takes_the_token(exposed: Daemon, path: str) -> None:
    for headers in ({}, {"authorization": "Bearer wrong"}):
        assert exposed.client.get(path, headers=headers).status_code == 401
        assert exposed.client.options(path, headers=headers).status_code == 401
    assert exposed.client.get(path, headers=AUTH).status_code == (404 if path == "/nowhere" else 200)


def test_off_loopback_any_name_may_lead_here(exposed: Daemon) -> None:
    named = {**AUTH, "host": "orchestrator.internal:8787"}
    assert exposed.client.get("/healthz", headers=named).status_code == 200
    assert exposed.client.get("/healthz", headers={**AUTH, "host": "a@b"}).status_code == 421


def test_a_body_has_an_end(settled: Daemon) -> None:
    just = b"x" * (64 << 10)
    assert settled.client.post(CANCEL, headers=AUTH, content=just).status_code == 409
    assert settled.client.post(CANCEL, headers=AUTH, content=just + b"x").status_code == 413
    chunks = iter([just, b"x"])
    assert settled.client.post(CANCEL, headers=AUTH, content=chunks).status_code == 413
    assert settled.client.get("/healthz").status_code == 200


def test_half_open_connections_keep_no_complete_request_out(exposed: Daemon) -> None:
    place = ("127.0.0.1", urlsplit(exposed.url).port or 0)
    opening = f"GET /healthz HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {TOKEN}\r\nx-rest: "
    with ExitStack() as stack:
        links = [stack.enter_context(socket.create_connection(place, 20)) for _ in range(CONNECTIONS + 50)]
        for link in links:
            with suppress(ConnectionError):
                link.sendall(opening.encode())
        for _ in range(10):
            answer = httpx.get(exposed.client.base_url.join("/healthz"), headers=AUTH, trust_env=False)
            assert answer.json() == {"status": "ok"}
        for link in links[:50]:  # the oldest had to go
            assert _received(link) == b""
        links[-1].sendall(b"late\r\nconnection: close\r\n\r\n")  # the youngest still counts
        assert _received(links[-1]).startswith(b"HTTP/1.1 200 ")


def _received(link: socket.socket) -> bytes:
    try:
        return link.recv(65536)
    except ConnectionResetError:
        return b""


@pytest.mark.parametrize(
    "opening", [b"", b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nx-slow: ", HALF.encode()]
)
async def test_a_request_that_drips_in_for_ever_is_cut(opening: bytes) -> None:
    async def answer(scope: Message, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    with listening(Settings(project="p", listen="127.0.0.1:0"), {}) as listener:
        assert listener is not None
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(partial(serve, answer, listener, patience=1))
            async with await anyio.connect_tcp("127.0.0.1", urlsplit(listener.url).port or 0) as link:
                await link.send(opening)
                with anyio.fail_after(20), suppress(anyio.EndOfStream, anyio.BrokenResourceError):
                    while True:
                        with anyio.move_on_after(0.05):
                            await link.receive()
                        await link.send(b"x" if opening else b"")
            tasks.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        ("GET", "/healthz", {}),
        ("HEAD", "/readyz", {}),
        ("GET", "/api/v1/jobs", {}),
        ("GET", "/openapi.json", {}),
        ("GET", "/nowhere", {}),
        ("GET", "/api/v1/events?limit=0", {}),
        ("POST", CANCEL, {}),
        ("POST", CANCEL, AUTH),
        ("POST", CANCEL, {**AUTH, "origin": "null"}),
        ("GET", "/healthz", {"host": "evil.example"}),
        ("OPTIONS", "/api/v1/jobs", {}),
    ],
)
def test_what_stands_on_every_answer(
    settled: Daemon, method: str, path: str, headers: Mapping[str, str]
) -> None:
    reply = settled.client.request(method, path, headers=headers)
    assert {name: reply.headers.get_list(name) for name in OURS} == {name: [OURS[name]] for name in OURS}
    assert reply.headers["content-type"] == "application/json"
    assert "server" not in reply.headers
    assert "Traceback" not in reply.text


async def test_a_bug_of_ours_shows_nothing_of_itself() -> None:
    async def broken(scope: Message, receive: Receive, send: Send) -> None:
        raise LookupError("a secret")

    gate = Gate(hosts=frozenset({"here"}), token=None, open_to_read=True)
    # The transport stands for uvicorn, so that the bug can be planted.
    transport = httpx.ASGITransport(app=guarded(broken, gate))
    async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
        reply = await client.get("/")
    assert (reply.status_code, reply.json()["error"]) == (500, "this is a bug; the log says more")
    assert reply.headers["x-content-type-options"] == "nosniff"
