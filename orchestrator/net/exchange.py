"""Sending one request and reading its answer: what a failure proves, and how much is read."""

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
"""Time limit for connecting, over all addresses of a host."""
_LOGGERS: Final = ("httpx", *(f"httpcore{part}" for part in ("", ".connection", ".http11", ".proxy")))
# httpx lets some errors through: OSError for TLS errors and time-outs, ValueError for odd host names.
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
    """No byte of the request left this machine; the cause says why."""


class Unanswered(Exception):
    """The request was sent, at least in part, and no answer came.

    The cause says why; a `TimeoutError` means that time was up.
    """


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """An answer as far as it was read; header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    """Undecoded, since a small body may decompress to gigabytes."""
    larger: bool = False
    """The body was larger than the limit."""
    cut: Exception | None = None
    """The error that cut the body off; a `TimeoutError` means that time was up."""


class Connections:
    """Connections to one server, each used by one request at a time.

    They are bare transports, without cookies, redirects, proxies or netrc, which log no URL. A single
    pool would check all its connections for every request (`docs/performance.md`).
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

        They are one request to several addresses. Everything ends at `until`, by the loop's clock, and
        `seconds` after the request starts to be sent; `connect` limits TCP and TLS each. `cap` returns how
        many bytes to read of a body with a given status. `alone` uses a new connection and closes it.
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
        """Close all connections; one in use is closed when its request ends."""
        self._closed = True
        with anyio.CancelScope(shield=True):
            while self._idle:
                await self._idle.pop().aclose()


class _Sending:
    """Follows httpcore's progress, to know whether any byte of the request may have been sent."""

    def __init__(self, limit: anyio.CancelScope, seconds: float) -> None:
        self.begun = False
        self._limit = limit
        self._seconds = seconds

    async def __call__(self, event: str, _: object) -> None:
        if event.endswith(".send_request_headers.started"):
            self.begun = True
            self._limit.deadline = min(self._limit.deadline, anyio.current_time() + self._seconds)

    def failure(self) -> Unsent | Unanswered:
        """Return the error that a failure now means."""
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
    """Read up to `cap` bytes. The status is known, so the caller decides what a broken body means."""
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
    """Keep the HTTP client from logging below warnings, since its logs contain URLs and headers."""
    for name in _LOGGERS:
        logger = logging.getLogger(name)
        logger.setLevel(logging.WARNING)
        if _warnings_only not in logger.filters:
            logger.addFilter(_warnings_only)


def _warnings_only(entry: logging.LogRecord) -> bool:
    return entry.levelno >= logging.WARNING
