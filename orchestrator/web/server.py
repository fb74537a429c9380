"""uvicorn inside the daemon's task group: it heeds no signal, and ends when it is cancelled."""

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
"""More are cut off, so that they never use up the files that the daemon itself needs."""
END_SECONDS: Final = 1
"""How long an answer that is under way may take when the daemon ends."""


class _Protocol(H11Protocol):
    """One connection."""

    def connection_made(self, transport: Any) -> None:
        """Take a connection, while there are not too many."""
        super().connection_made(transport)
        if len(self.connections) > CONNECTIONS:
            transport.abort()
        # Until its first byte it is as idle as between two requests, and is closed as soon.
        self.timeout_keep_alive_task = self.loop.call_later(
            self.timeout_keep_alive, self.timeout_keep_alive_handler
        )

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP in the form of every other answer."""
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


async def serve(app: App, listener: Listener) -> None:
    """Answer on `listener` until cancelled; what is under way then still gets its answer."""
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
