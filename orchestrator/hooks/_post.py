"""One POST to a checked address: a deadline over all of it, nothing followed, little of the reply read."""

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache

import anyio
import certifi
import httpx

from orchestrator.errors import HookError

READ = 65536
"""Raw bytes of a reply that are read; they are never decoded."""
CONNECT_SECONDS = 10.0
"""How long it may take to be connected, over all addresses."""
Trace = Callable[[str, object], Awaitable[None]]
"""Told by httpcore of each thing that it does."""
_BROKEN = (httpx.HTTPError, anyio.BrokenResourceError, anyio.ClosedResourceError, OSError)


@dataclass(frozen=True, kw_only=True, slots=True)
class Reply:
    """What came back, as far as it was read."""

    code: int
    headers: httpx.Headers
    body: bytes


@cache
def trust() -> ssl.SSLContext:
    """Return the context that all share, since each costs 834 KiB: certifi's roots and the system's.

    Not `create_default_context`, which would write session keys where SSLKEYLOGFILE says.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_verify_locations(cafile=certifi.where())
    context.load_default_certs()  # a receiver of one's own may have a certificate of one's own
    return context


class Poster:
    """Sends to one receiver, any number at once, each on a transport of its own.

    A shared pool walks all its connections for every request (`performance.md`); a bare transport has
    no cookies, redirects, proxies or netrc, and does not log the URL.
    """

    def __init__(self, url: httpx.URL, tls: ssl.SSLContext | None = None) -> None:
        self.url = url
        self._tls = tls
        self._idle: list[httpx.AsyncHTTPTransport] = []
        self._closed = False
        self._last: tuple[str, httpx.URL] | None = None

    async def post(
        self, addresses: Sequence[str], headers: Mapping[str, str], body: bytes, *, timeout: float
    ) -> Reply:
        """Send it to the first of `addresses` that takes the connection; raises `HookError`.

        The answer has `timeout` seconds from the moment when the request begins to be sent.
        """
        async with self._taken() as transport:
            try:
                with anyio.fail_after(None) as limit:

                    async def sending(event: str, _: object) -> None:
                        if event.endswith(".send_request_headers.started"):
                            limit.deadline = anyio.current_time() + timeout

                    response = await self._send(transport, addresses, headers, body, trace=sending)
            except TimeoutError as error:
                raise HookError(f"uncertain: no answer within {timeout:g} s", down=True) from error
            except _BROKEN as error:
                message = f"uncertain: the connection broke before an answer ({type(error).__name__})"
                raise HookError(message, down=True) from error
            read = await _read(response, limit.deadline)
            return Reply(code=response.status_code, headers=response.headers, body=read)

    async def _send(
        self,
        transport: httpx.AsyncHTTPTransport,
        addresses: Sequence[str],
        headers: Mapping[str, str],
        body: bytes,
        *,
        trace: Trace,
    ) -> httpx.Response:
        connect = CONNECT_SECONDS / (2 * len(addresses))  # for TCP and TLS each
        refused: Exception | None = None
        for address in addresses:
            request = httpx.Request(
                "POST",
                self._dialled(address),
                headers={"host": self.url.netloc.decode("ascii"), **headers},
                content=body,
                extensions={
                    "sni_hostname": self.url.raw_host.decode("ascii").rstrip("."),
                    "timeout": {"connect": connect},
                    "trace": trace,
                },
            )
            try:
                return await transport.handle_async_request(request)
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                refused = error
        why = str(refused) or f"none within {connect:g} s"
        raise HookError(f"not sent: no connection to {addresses[-1]} ({why})", down=True) from refused

    def _dialled(self, address: str) -> httpx.URL:
        # Kept for the last address alone: it seldom changes, and making one costs 0.1 ms.
        if self._last is None or self._last[0] != address:
            self._last = address, self.url.copy_with(host=address)
        return self._last[1]

    @asynccontextmanager
    async def _taken(self) -> AsyncIterator[httpx.AsyncHTTPTransport]:
        transport = self._idle.pop() if self._idle else self._open()
        try:
            yield transport
        finally:
            self._idle.append(transport)
            if self._closed:
                await self.aclose()

    def _open(self) -> httpx.AsyncHTTPTransport:
        limits = httpx.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=4)
        return httpx.AsyncHTTPTransport(verify=self._tls or trust(), trust_env=False, limits=limits)

    async def aclose(self) -> None:
        """Close every connection; one in use is closed when it is done."""
        self._closed = True
        with anyio.CancelScope(shield=True):
            while self._idle:
                await self._idle.pop().aclose()


async def _read(response: httpx.Response, until: float) -> bytes:
    """Read up to `READ` bytes; the status is known, so a reply that breaks off or drips changes nothing."""
    kept = bytearray()
    try:
        with anyio.move_on_after(max(until - anyio.current_time(), 0)):
            async for chunk in response.aiter_raw():
                kept += chunk
                if len(kept) >= READ:
                    break
    except _BROKEN:
        pass
    finally:
        with anyio.CancelScope(shield=True):
            await response.aclose()
    return bytes(kept[:READ])
