"""Addresses at which no provider answers: no name, no way, nobody, or somebody else with a certificate."""

import asyncio
import shutil
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import (
    AbstractAsyncContextManager,
    ExitStack,
    asynccontextmanager,
    contextmanager,
    nullcontext,
)
from pathlib import Path
from threading import Event
from typing import Any

import pytest

NAME = "provider.invalid"
CERTIFICATES = {
    "good": ("IP:127.0.0.1", 2),
    "expired": ("IP:127.0.0.1", -1),
    "of another": (f"DNS:{NAME}", 2),
}
"""What each is for, and how many days it is valid."""


def certificates(folder: Path) -> Path:
    """Make them all, each signed by itself, and one file with all but the last, `stranger`'s."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed")
    for name, (subject, days) in {**CERTIFICATES, "stranger": ("IP:127.0.0.1", 2)}.items():
        key, made = folder / f"{name}.key", folder / f"{name}.pem"
        names = folder / "names"
        names.write_text(f"subjectAltName={subject}\n")
        curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
        asked = subprocess.run(
            [openssl, "req", *curve, "-subj", f"/CN={name}", "-keyout", str(key)],
            check=True,
            capture_output=True,
        )
        signed = ("-signkey", str(key), "-days", str(days), "-extfile", str(names), "-out", str(made))
        subprocess.run(
            [openssl, "x509", "-req", *signed],
            input=asked.stdout,
            check=True,
            capture_output=True,
        )
    trusted = folder / "trusted"
    trusted.write_text("".join((folder / f"{name}.pem").read_text() for name in CERTIFICATES))
    return trusted


@asynccontextmanager
async def listening(certificate: Path | None) -> AsyncIterator[str]:
    """Answer 503 behind a certificate; without one never a byte, so that a handshake stalls."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        head = await reader.readuntil(b"\r\n\r\n" if certificate else b"never")
        length = head.lower().partition(b"content-length:")[2].split(b"\r\n")[0]
        await reader.readexactly(int(length or 0))
        writer.write(b"HTTP/1.1 503 X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        writer.close()

    writers: list[asyncio.StreamWriter] = []
    context = None
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, certificate.with_suffix(".key"))
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)  # handshakes that the client ends
    async with await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context) as server:
        yield f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        for writer in writers:
            writer.transport.abort()


@contextmanager
def crowded() -> Iterator[str]:
    """Listen where nobody is let in any more, so that a connection is neither made nor refused."""
    with ExitStack() as held:
        door = held.enter_context(socket.socket())
        door.bind(("127.0.0.1", 0))
        door.listen(0)
        for _ in range(4):
            waiting = held.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(door.getsockname())
        yield f"http://127.0.0.1:{door.getsockname()[1]}"


@contextmanager
def refused() -> Iterator[str]:
    """Keep a port at which nobody listens."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{unused.getsockname()[1]}"


@contextmanager
def resolving(answer: Callable[[], Any], patch: pytest.MonkeyPatch) -> Iterator[str]:
    """Let the system's resolver do `answer` for one name."""
    real = socket.getaddrinfo

    def resolve(host: Any, *args: Any, **options: Any) -> Any:
        return answer() if host in (NAME, NAME.encode()) else real(host, *args, **options)

    with patch.context() as patched:
        patched.setattr(socket, "getaddrinfo", resolve)
        yield f"http://{NAME}"


def _no(code: int) -> Callable[[], Any]:
    def answer() -> Any:
        raise socket.gaierror(code, "as the test says")

    return answer


@contextmanager
def slow(patch: pytest.MonkeyPatch) -> Iterator[str]:
    """Let the resolver stand still until the test is over."""
    over = Event()
    with resolving(lambda: over.wait(60) and _no(socket.EAI_AGAIN)(), patch) as url:
        try:
            yield url
        finally:
            over.set()


@asynccontextmanager
async def _at(place: AbstractAsyncContextManager[str] | Any) -> AsyncIterator[str]:
    if isinstance(place, AbstractAsyncContextManager):
        async with place as url:
            yield url
    else:
        with place as url:
            yield url


SAYS: Mapping[str, str] = {
    "DNS failure": "as the test says",
    "NXDOMAIN": "as the test says",
    "slow DNS": "ConnectTimeout",
    "refused": "ConnectError",
    "connect timeout": "ConnectTimeout",
    "unreachable": "ConnectError",
    "TLS expired": "certificate has expired",
    "wrong host": "mismatch",
    "unknown CA": "self-signed certificate",
    "handshake stall": "ConnectTimeout",
}
"""What a person is told of each."""


@asynccontextmanager
async def leading(name: str, folder: Path, patch: pytest.MonkeyPatch) -> AsyncIterator[str]:
    """Give the address that leads to this trouble."""
    places: Mapping[str, Callable[[], Any]] = {
        "DNS failure": lambda: resolving(_no(socket.EAI_AGAIN), patch),
        "NXDOMAIN": lambda: resolving(_no(socket.EAI_NONAME), patch),
        "slow DNS": lambda: slow(patch),
        "refused": refused,
        "connect timeout": crowded,
        "unreachable": lambda: nullcontext("http://127.255.255.255"),
        "TLS expired": lambda: listening(folder / "expired.pem"),
        "wrong host": lambda: listening(folder / "of another.pem"),
        "unknown CA": lambda: listening(folder / "stranger.pem"),
        "handshake stall": lambda: listening(None),
        "good": lambda: listening(folder / "good.pem"),
    }
    async with _at(places[name]()) as url:
        yield url
