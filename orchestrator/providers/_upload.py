"""Uploading local files: opening and checking them, and streaming them to the address a provider gives."""

import hashlib
import os
import stat
from collections.abc import AsyncIterator, Collection, Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import IO, Final

import anyio
import httpx
from anyio import to_thread

from orchestrator.config.url import is_loopback
from orchestrator.core.job import Input
from orchestrator.errors import Denied, Misread, NotSent, Rejected, Transient
from orchestrator.net.address import Dialled, Unreachable, checked, host_of, lookup, place_of, port_of
from orchestrator.net.exchange import CONNECT_SECONDS, Connections
from orchestrator.net.tls import trust, trust_nobody
from orchestrator.providers._http import Call, Http, Reply, exchanged

CHUNK: Final = 2**20
"""Bytes read at once, in a thread because disks can be slow."""


@contextmanager
def opened(source: Input, name: str) -> Iterator[IO[bytes]]:
    """Open a regular file without blocking; links are followed, since the content itself is checked."""
    try:
        number = os.open(source.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise Rejected(f"{name} cannot be read: {error.strerror}; nothing was sent") from error
    with os.fdopen(number, "rb") as file:
        if not stat.S_ISREG(os.fstat(number).st_mode):
            raise Rejected(f"{name} is not a regular file; nothing was sent")
        yield file


async def check_unchanged(file: IO[bytes], source: Input, name: str) -> None:
    """Hash the open file that will be sent, rewind it, and raise `Rejected` if it is not what was planned."""
    if await to_thread.run_sync(_digest, file) != source.sha256:
        raise Rejected(f"{name} has changed since it was planned; nothing was sent")


def _digest(file: IO[bytes]) -> str:
    digest = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]  # IO[bytes] has what it needs
    file.seek(0)
    return digest


async def put(
    http: Http,
    url: str,
    file: IO[bytes],
    *,
    allowed: Collection[str],
    headers: Mapping[str, str] | None = None,
    expect: Container[int] = (200, 201, 204),
) -> Reply:
    """Stream `file` to a signed address that the provider gave, without sending credentials there.

    Its origin must match one of `allowed`, such as `https://*.r2.cloudflarestorage.com`. Private addresses
    are refused as for webhooks, unless the provider itself is on this machine.
    """
    place = _allowed(url, allowed)
    seconds = http.upload_deadline
    call = Call(
        name=f"PUT to {host_of(place)}",
        expect=expect,
        ends=anyio.current_time() + seconds,
        connect=min(CONNECT_SECONDS, seconds / 4),
        changes=True,
        alone=True,
    )
    addresses = await _addresses(place, http, call)
    size = os.fstat(file.fileno()).st_size
    sent = {
        "Content-Type": "application/octet-stream",
        **(headers or {}),
        "Content-Length": str(size),
        "Connection": "close",
    }
    http.check_may_leave(call)
    connections = Connections(trust() if place.scheme == "https" else trust_nobody())
    try:
        requests = tuple(Dialled(place).requests("PUT", addresses, sent, _chunks(file, size)))
        return http.judged(await exchanged(connections, requests, call), call)
    except Denied as error:  # the signed address expired; this says nothing about the account's credentials
        raise Transient(error.message, code=error.code, retry_after=error.retry_after) from error
    finally:
        await connections.aclose()


async def _addresses(place: httpx.URL, http: Http, call: Call) -> Sequence[str]:
    local = is_loopback(httpx.URL(http.base).host)
    try:
        with anyio.fail_after(call.connect):
            return await checked(host_of(place), port_of(place), lookup, private=local)
    except Unreachable as error:
        raise NotSent(f"{call.name} was not sent: {error}") from error
    except TimeoutError as error:
        raise NotSent(f"{call.name} was not sent: its address was not found in time") from error


def _allowed(url: str, allowed: Collection[str]) -> httpx.URL:
    try:
        place = place_of(url)
    except ValueError as error:
        raise Misread(f"the address for the upload {error}") from None
    if not any(_matches(place, pattern) for pattern in allowed):
        raise Misread(
            f"the address for the upload is at {host_of(place)}, where this provider keeps no files"
        )
    return place


def _matches(place: httpx.URL, pattern: str) -> bool:
    """Compare origins; a leading `*.` in the pattern's host stands for one or more labels."""
    scheme, _, rest = pattern.partition("://")
    wanted = httpx.URL(f"{scheme}://{rest.removeprefix('*.')}")
    if (place.scheme, port_of(place)) != (scheme, port_of(wanted)):
        return False
    host = host_of(place)
    return host.endswith(f".{host_of(wanted)}") if rest.startswith("*.") else host == host_of(wanted)


async def _chunks(file: IO[bytes], size: int) -> AsyncIterator[bytes]:
    """Yield the first `size` bytes, the length that was announced."""
    left = size
    while left and (chunk := await to_thread.run_sync(file.read, min(CHUNK, left))):
        left -= len(chunk)
        yield chunk
