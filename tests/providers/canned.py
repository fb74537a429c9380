"""A server that answers in the bytes it is told to, and keeps what it was sent."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio
from anyio.abc import Listener, SocketAttribute, SocketStream

from orchestrator.config.secret import Secret
from orchestrator.providers._http import Http
from orchestrator.providers._limit import Limiter
from orchestrator.providers.auth import Bearer

KEY = "canary/key+0123456789"
Secret(KEY)  # as a resolved credential would be, it is hidden from now on
Respond = Callable[[bytes], bytes]


@dataclass
class Canned:
    """What came in, and over how many connections; `answer` may be changed at any time."""

    answer: bytes | Respond
    requests: list[bytes] = field(default_factory=list)
    connections: int = 0
    url: str = ""

    async def serve(self, stream: SocketStream) -> None:
        self.connections += 1
        async with stream:
            try:
                while request := await _request(stream):
                    self.requests.append(request)
                    reply = self.answer if isinstance(self.answer, bytes) else self.answer(request)
                    await stream.send(reply)
                    if b"content-length" not in reply.lower():
                        return
            except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
                return


async def _request(stream: SocketStream) -> bytes:
    seen = b""
    while b"\r\n\r\n" not in seen:
        seen += await stream.receive()
    head, _, body = seen.partition(b"\r\n\r\n")
    for line in head.split(b"\r\n"):
        if line.lower().startswith(b"content-length:"):
            while len(body) < int(line.partition(b":")[2]):
                body += await stream.receive()
    return head + b"\r\n\r\n" + body


def reply(status: int = 200, body: bytes = b"{}", headers: Mapping[str, str] | None = None) -> bytes:
    """Write a whole answer."""
    lines = [f"HTTP/1.1 {status} Canned", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


def address(listener: Listener[SocketStream]) -> str:
    """Return the URL of a listener."""
    port = listener.extra(SocketAttribute.local_port)  # noqa: S610 - anyio's, not Django's
    return f"http://127.0.0.1:{port}"


@asynccontextmanager
async def canned(answer: bytes | Respond) -> AsyncIterator[Canned]:
    """Run the server for the length of a `with`."""
    server = Canned(answer)
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    server.url = address(listener)
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, server.serve)
        yield server
        tasks.cancel_scope.cancel()


@asynccontextmanager
async def http(url: str, *, deadline: float = 5.0, per_second: float = 100_000.0) -> AsyncIterator[Http]:
    """Open a client with the canary as its key."""
    found = Http(url, Bearer(Secret(KEY)), Limiter(per_second), deadline=deadline)
    try:
        yield found
    finally:
        await found.close()
