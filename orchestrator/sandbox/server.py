"""The HTTP server: uvicorn's protocol, with the connection in reach so that a fault can write raw bytes."""

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from orchestrator.sandbox import admin
from orchestrator.sandbox.app import Sandbox
from orchestrator.sandbox.desk import Desk
from orchestrator.sandbox.fault import Answer, End
from orchestrator.sandbox.options import Options
from orchestrator.sandbox.wire import Call

MAX_BODY = 600 << 20  # the largest adapter Cloudflare takes is 500 MB
MAX_HANG = 120.0
KEEP_ALIVE_SECONDS = 75
"""How long an idle connection is kept: longer than clients do, or one may write while it is being closed."""


class _Link:
    """One connection, as a fault sees it."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self.transport, self.lost = transport, asyncio.Event()

    async def play(self, steps: Iterator[bytes | float | End]) -> None:
        """Write bytes, wait, and end the connection as told."""
        for step in steps:
            if self.lost.is_set():
                return
            match step:
                case bytes():
                    self.transport.write(step)
                case End.CLOSE:
                    self.transport.close()
                case End.RESET:
                    self._reset()
                case End.HANG:
                    await self._wait(MAX_HANG)
                case _:
                    await self._wait(float(step))
        await self._wait(MAX_HANG)
        self.transport.abort()

    async def _wait(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.lost.wait(), seconds)

    def _reset(self) -> None:
        # lingering for zero seconds makes the kernel answer with RST in place of FIN
        connection: socket.socket = self.transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()


def _protocol(sandbox: Sandbox) -> type[H11Protocol]:
    class Protocol(H11Protocol):
        """Puts the connection into the scope of its requests."""

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn's
            super().connection_made(transport)
            self.link = _Link(transport)
            self.app_state = {"link": self.link}
            if sandbox.switchboard.refuses():
                transport.abort()

        def connection_lost(self, exc: Exception | None) -> None:
            self.link.lost.set()
            super().connection_lost(exc)

    return Protocol


class _App:
    """The ASGI application."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        link: _Link = scope["state"]["link"]
        cut = self._cut(scope)
        if cut is not None:
            await link.play(cut)
            return
        call = await _read(scope, receive)
        if call is None:
            return
        if len(call.body) > MAX_BODY:
            await _send(send, Answer(status=413, body=b'{"message":"the body is too large"}'))
            return
        if call.path.startswith("/_sandbox/"):
            call.path = call.path.removeprefix("/_sandbox")
            reply = admin.answer(self._sandbox, call)
            await _send(send, Answer(status=reply.status, body=reply.body()))
            return
        provider = self._sandbox.provider(call.path)
        if provider is None:
            await _send(send, Answer(status=404, body=b'{"error":"no provider has this address"}'))
            return
        call.provider, call.prefix, call.path = (
            provider.name,
            provider.prefix,
            call.path.removeprefix(provider.prefix),
        )
        answer, rule = await self._sandbox.answer(provider, call)
        if rule is None or rule.fault.script is None:
            await _send(send, answer)
        else:
            await link.play(rule.fault.script(answer, rule.options))

    def _cut(self, scope: Any) -> Iterator[bytes | float | End] | None:
        """Give what ends a request before its body is read."""
        call = _call(scope, b"")
        provider = self._sandbox.provider(call.path)
        if provider is None or not self._sandbox.switchboard.rules:
            return None
        call.provider, call.path = provider.name, call.path.removeprefix(provider.prefix)
        rule = self._sandbox.cut(provider, call)
        nothing = Answer(status=0, body=b"")
        return None if rule is None or rule.fault.script is None else rule.fault.script(nothing, rule.options)


async def _read(scope: Any, receive: Any) -> Call | None:
    body = bytearray()
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None  # half a request is none: nothing of it is applied
        body += message.get("body", b"")
        more = message.get("more_body", False) and len(body) <= MAX_BODY
    return _call(scope, bytes(body))


def _call(scope: Any, body: bytes) -> Call:
    pairs = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
    headers = tuple((key.decode("latin-1"), value.decode("latin-1")) for key, value in scope["headers"])
    return Call(
        provider="",
        method=scope["method"],
        path=scope["path"],
        query=pairs,
        headers=headers,
        body=body,
    )


async def _send(send: Any, answer: Answer) -> None:
    bodiless = answer.status in (204, 304)
    length: Iterable[tuple[str, str]] = () if bodiless else (("content-length", str(len(answer.body))),)
    headers = [(key.encode("latin-1"), value.encode("latin-1")) for key, value in (*answer.headers, *length)]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if bodiless else answer.body})


async def serve(
    *,
    host: str = "127.0.0.1",
    port: int,
    state: Path | None,
    options: Options,
    ready: Callable[[int], None],
) -> None:
    """Serve until cancelled; `ready` gets the real port. Raises OSError when port or state is in use."""
    desk = Desk(options, state)
    sandbox, server_state = Sandbox(desk), ServerState()
    config = uvicorn.Config(
        _App(sandbox),
        log_config=None,
        access_log=False,
        lifespan="off",
        ws="none",
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
    )
    config.load()
    protocol = _protocol(sandbox)
    try:
        # the loop makes the socket itself: on one of ours it would not turn Nagle's delay off
        server = await asyncio.get_running_loop().create_server(
            lambda: protocol(config, server_state, {}), host, port, backlog=1024
        )
        try:
            ready(server.sockets[0].getsockname()[1])
            await asyncio.Event().wait()
        finally:
            server.close()
            for connection in list(server_state.connections):
                connection.transport.abort()
    finally:
        desk.close()
        if server_state.tasks:  # what waits for its client ends by itself, now that the client is cut off
            await asyncio.wait(list(server_state.tasks), timeout=0.2)
