"""A receiver of webhooks on loopback that answers as badly as it is told to."""

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Request:
    line: str
    headers: Mapping[str, str]
    body: bytes


Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]


def reply(status: int = 200, body: bytes = b"", **headers: str) -> Answer:
    """Answer whole and at once."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    lines = [f"HTTP/1.1 {status} X", *(f"{name}: {value}" for name, value in named.items())]
    head = "\r\n".join([*lines, f"content-length: {len(body)}", "", ""]).encode()

    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(head + body)
        await writer.drain()

    return answer


async def reset(writer: asyncio.StreamWriter) -> None:
    """Cut the connection with RST."""
    linger = struct.pack("ii", 1, 0)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    writer.transport.abort()


async def vanish(writer: asyncio.StreamWriter) -> None:
    """Close without an answer."""
    writer.close()


@dataclass
class Receiver:
    port: int = 0
    scheme: str = "http"
    requests: list[Request] = field(default_factory=list)
    connections: int = 0
    answer: Answer = field(default_factory=reply)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    over: asyncio.Event = field(default_factory=asyncio.Event)

    def url(self, host: str = "127.0.0.1", path: str = "/hook") -> str:
        return f"{self.scheme}://{host}:{self.port}{path}"

    async def hang(self, writer: asyncio.StreamWriter) -> None:
        """Say nothing until the test is over."""
        await self.over.wait()

    async def drip_head(self, writer: asyncio.StreamWriter) -> None:
        """Send a header line that never ends, a byte at a time."""
        await self._drip(writer, b"HTTP/1.1 200 OK\r\nx: ")

    async def drip_body(self, writer: asyncio.StreamWriter) -> None:
        """Send the head at once, then a body that never ends."""
        await self._drip(writer, b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n")

    async def _drip(self, writer: asyncio.StreamWriter, start: bytes) -> None:
        writer.write(start)
        while not self.over.is_set():
            writer.write(b"x")
            await writer.drain()
            try:
                await asyncio.wait_for(self.over.wait(), 0.01)
            except TimeoutError:
                continue

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while not writer.is_closing():
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                headers = {
                    name.lower(): value.strip()
                    for name, _, value in (line.partition(":") for line in head[1:] if line)
                }
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                self.requests.append(Request(line=head[0], headers=headers, body=body))
                self.arrived.set()
                await self.answer(writer)
        except (asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def receiving(context: ssl.SSLContext | None = None) -> AsyncIterator[Receiver]:
    """Run a receiver on a free port of 127.0.0.1."""
    receiver = Receiver(scheme="https" if context else "http")
    tasks: set[asyncio.Task[None]] = set()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.create_task(receiver.serve(reader, writer)))

    server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=context)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        receiver.over.set()
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()
