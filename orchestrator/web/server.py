"""uvicorn inside the daemon's task group: it ignores signals, and ends when it is cancelled."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import anyio
import h11
import structlog
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from orchestrator.web.guard import HEADERS, App
from orchestrator.web.listen import BACKLOG, Listener

log: structlog.stdlib.BoundLogger = structlog.get_logger("orchestrator.web")

CONNECTIONS: Final = 200
"""How many there may be at once, so that the daemon never runs out of file descriptors."""
PATIENCE_SECONDS: Final = 10
"""How long the head of a request may take: from the connection's first moment, or from the last answer."""
END_SECONDS: Final = 1
"""How long an answer that is under way may take when the daemon ends."""


class _Protocol(H11Protocol):
    """One connection."""

    def connection_made(self, transport: Any) -> None:
        """Take a connection; if there are too many, close the oldest that waits for no answer."""
        super().connection_made(transport)
        self.waits_since = self.loop.time()
        if len(self.connections) > CONNECTIONS:
            waiting = [one for one in self.connections if isinstance(one, _Protocol) and one.waits]
            oldest = min(waiting, key=lambda one: one.waits_since)
            self.connections.discard(oldest)  # at once: its end is told later
            oldest.transport.abort()
        self.timeout_keep_alive_task = self.loop.call_later(
            self.timeout_keep_alive, self.timeout_keep_alive_handler
        )

    @property
    def waits(self) -> bool:
        """Whether no complete request waits for an answer."""
        return self.cycle is None or self.cycle.more_body or self.cycle.response_complete

    def data_received(self, data: bytes) -> None:
        """Take bytes; unlike in uvicorn, only a complete head stops the clock, not any byte of it."""
        self.conn.receive_data(data)
        self.handle_events()

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        self.waits_since = self.loop.time()
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer a request that is not HTTP in the form of every other answer."""
        body = b'{"error":"invalid HTTP request","hint":null}'
        headers = [*HEADERS, ("content-type", "application/json"), ("content-length", str(len(body)))]
        answer = h11.Response(status_code=400, headers=[*headers, ("connection", "close")], reason=b"")
        for event in (answer, h11.Data(data=body), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()


class _Server(uvicorn.Server):
    """A server that leaves signals to the daemon."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none: uvicorn would take them from the daemon, and raise them again at its end."""
        yield


async def serve(app: App, listener: Listener, *, patience: int = PATIENCE_SECONDS) -> None:
    """Answer on `listener` until cancelled; requests under way then still get their answers."""
    config = uvicorn.Config(
        app,
        http=_Protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="critical",  # it tells of each client that speaks no HTTP; of our failures `guarded` tells
        access_log=False,
        proxy_headers=False,
        server_header=False,
        backlog=BACKLOG,
        timeout_keep_alive=patience,
        timeout_graceful_shutdown=END_SECONDS,
    )
    server = _Server(config)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_until_told, server, listener)
        log.info("listening", url=listener.url)
        try:
            await anyio.sleep_forever()
        finally:
            server.should_exit = True


async def _until_told(server: uvicorn.Server, listener: Listener) -> None:
    # A cancelled uvicorn leaves its connections open and prints a traceback; told to, it ends in order.
    with anyio.CancelScope(shield=True):
        await server.serve(sockets=[listener.socket])
