"""One request and its answer: what is known where it fails, and how much of the answer is read."""

import logging
import math
import ssl
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import anyio
import httpx

CONNECT_SECONDS: Final = 10.0
"""How long it may take to be connected, over all addresses of a host."""
_LOGGERS: Final = ("httpx", *(f"httpcore{part}" for part in ("", ".connection", ".http11", ".proxy")))
# OSError holds TLS errors in mid-stream and time-outs, which httpx lets through; ValueError odd host names.
_TROUBLE: Final = (
    httpx.HTTPError,
    httpx.StreamError,
    httpx.InvalidURL,
    OSError,
    ValueError,
    RuntimeError,
    anyio.BrokenResourceError,
    anyio.ClosedResourceError,
    anyio.EndOfStream,
)


class Unsent(Exception):
    """No byte of the request left this machine; its cause says why."""


class Unanswered(Exception):
    """The request left, or part of it may have, and no answer came.

    Its cause says why, a `TimeoutError` that time was up.
    """


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What came back, as far as it was read; the names of `headers` are in small letters."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    """Raw: it is never decoded here, since a small one may unpack to gigabytes."""
    larger: bool = False
    """There was more of the body than may be read."""
    cut: Exception | None = None
    """What broke the body off; a `TimeoutError` where time was up."""


class Connections:
    """Connections to one place, each with one request at a time.

    Bare transports: they have no cookies, redirects, proxies or netrc, and log no URL. One pool for all
    would walk all its connections for every request (`docs/performance.md`).
    """

    def __init__(self, tls: ssl.SSLContext) -> None:
        self._tls = tls
        self._idle: list[httpx.AsyncHTTPTransport] = []
        self._closed = False
        quiet_loggers()

    async def send(
        self,
        requests: Iterable[httpx.Request],
        *,
        cap: Callable[[int], int],
        connect: float = CONNECT_SECONDS,
        until: float = math.inf,
        seconds: float = math.inf,
        alone: bool = False,
    ) -> Answer:
        """Send the first of `requests` that gets a connection; raises `Unsent` or `Unanswered`.

        They are the same one to several addresses. All of it ends at `until`, by the loop's clock, and
        `seconds` after the request began to leave; `connect` is for TCP and TLS each. `cap` tells from the
        status how many bytes of the body to read. `alone`: on a connection of its own, closed afterwards.
        """
        async with self._taken(alone=alone) as transport:
            with anyio.CancelScope(deadline=until) as limit:
                sending = _Sending(limit, seconds)
                response = await _first(transport, requests, connect, sending)
            if limit.cancelled_caught:
                raise sending.failure() from TimeoutError() if sending.begun else httpx.ConnectTimeout("")
            return await _read(response, cap(response.status_code), limit.deadline)

    @asynccontextmanager
    async def _taken(self, *, alone: bool) -> AsyncIterator[httpx.AsyncHTTPTransport]:
        transport = self._idle.pop() if self._idle and not alone else self._open()
        try:
            yield transport
        finally:
            if alone:
                with anyio.CancelScope(shield=True):
                    await transport.aclose()
            else:
                self._idle.append(transport)
                if self._closed:
                    await self.aclose()

    def _open(self) -> httpx.AsyncHTTPTransport:
        limits = httpx.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=4)
        return httpx.AsyncHTTPTransport(verify=self._tls, trust_env=False, limits=limits, retries=0)

    async def aclose(self) -> None:
        """Close every connection; one in use is closed when it is done."""
        self._closed = True
        with anyio.CancelScope(shield=True):
            while self._idle:
                await self._idle.pop().aclose()


class _Sending:
    """Told by httpcore of each thing it does: knows whether a byte of the request may have left."""

    def __init__(self, limit: anyio.CancelScope, seconds: float) -> None:
        self.begun = False
        self._limit = limit
        self._seconds = seconds

    async def __call__(self, event: str, _: object) -> None:
        if event.endswith(".send_request_headers.started"):
            self.begun = True
            self._limit.deadline = min(self._limit.deadline, anyio.current_time() + self._seconds)

    def failure(self) -> Unsent | Unanswered:
        """Return what a failure at this point proves."""
        return Unanswered() if self.begun else Unsent()


async def _first(
    transport: httpx.AsyncHTTPTransport,
    requests: Iterable[httpx.Request],
    connect: float,
    sending: _Sending,
) -> httpx.Response:
    refused: Exception = ValueError("no address")
    for request in requests:
        request.extensions = {**request.extensions, "timeout": {"connect": connect}, "trace": sending}
        try:
            return await transport.handle_async_request(request)
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            refused = error
        except _TROUBLE as error:
            raise sending.failure() from error
    raise sending.failure() from refused


async def _read(response: httpx.Response, cap: int, until: float) -> Answer:
    """Read up to `cap` bytes; the status is known, so it is the caller's to say what a broken body means."""
    kept = bytearray()
    cut: Exception | None = None
    try:
        with anyio.CancelScope(deadline=until) as limit:
            async for chunk in response.aiter_raw():
                kept += chunk
                if len(kept) > cap:
                    break
        if limit.cancelled_caught:
            cut = TimeoutError()
    except _TROUBLE as error:
        cut = error
    finally:
        with anyio.CancelScope(shield=True):
            await response.aclose()
    return Answer(
        status=response.status_code,
        headers={name.lower(): value for name, value in response.headers.items()},
        body=bytes(kept[:cap]),
        larger=len(kept) > cap,
        cut=cut,
    )


def quiet_loggers() -> None:
    """Keep the client's own logs, which show URLs and headers, from ever going below a warning."""
    for name in _LOGGERS:
        logger = logging.getLogger(name)
        logger.setLevel(logging.WARNING)
        if _warnings_only not in logger.filters:
            logger.addFilter(_warnings_only)


def _warnings_only(entry: logging.LogRecord) -> bool:
    return entry.levelno >= logging.WARNING
