"""A TCP proxy that stands between the program and the sandbox, counts bytes, and acts at the byte it is told.

It knows just enough of HTTP to see the head and the body of the one request that it waits for.
"""

import contextlib
import selectors
import socket
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Lock, Thread

WIRE = (
    "before-connect",
    "connected",
    "head-sent",
    "half-sent",
    "request-sent",
    "request-applied",
    "status-received",
    "half-received",
)
SECONDS = 20.0


@dataclass
class Trap:
    """Waits for the `count`th request that begins with `start`, and calls `act` at `point` of it.

    `act` returns whether the request goes on as if nothing had been.
    """

    point: str
    start: bytes
    act: Callable[[], bool]
    count: int = 1
    sprung: Event = field(default_factory=Event)
    _seen: int = 0
    _lock: Lock = field(default_factory=Lock)

    def claims(self, head: bytes) -> bool:
        """Say whether this request is the one."""
        if not head.startswith(self.start):
            return False
        with self._lock:
            self._seen += 1
            return self._seen == self.count and not self.sprung.is_set()

    def spring(self) -> bool:
        """Act, once."""
        self.sprung.set()
        return self.act()


class Proxy:
    """Listens on a free port of loopback and passes everything on to `target`."""

    def __init__(self, target: tuple[str, int]) -> None:
        self._target = target
        self.trap: Trap | None = None
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = self._listener.getsockname()[1]
        self._wake, self._woken = socket.socketpair()
        self._shut = Event()
        self._paused = Event()
        self._resume = Event()
        self._thread = Thread(target=self._accept, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """Where the program finds it."""
        return f"http://127.0.0.1:{self.port}"

    def close(self) -> None:
        """Stop listening; connections that are open end with their peers."""
        self._shut.set()
        self._resume.set()
        self._wake.send(b"x")
        self._thread.join()
        for each in (self._listener, self._wake, self._woken):
            each.close()

    def _accept(self) -> None:
        with selectors.DefaultSelector() as waiting:
            waiting.register(self._listener, selectors.EVENT_READ)
            waiting.register(self._woken, selectors.EVENT_READ)
            while not self._shut.is_set():
                for key, _ in waiting.select():
                    if key.fileobj is self._woken:
                        self._woken.recv(64)
                        if not self._shut.is_set():
                            self._paused.set()
                            self._resume.wait()
                        break
                    client, _ = self._listener.accept()
                    Thread(target=self._serve, args=(client,), daemon=True).start()

    @contextlib.contextmanager
    def _full(self) -> Iterator[int]:
        """Take no connection and leave no room to wait for one: whoever connects now stays in SYN_SENT."""
        self._paused.clear()
        self._resume.clear()
        self._wake.send(b"x")
        self._paused.wait(SECONDS)
        try:
            self._listener.listen(0)
            with socket.create_connection(("127.0.0.1", self.port), timeout=SECONDS) as filler:
                yield filler.getsockname()[1]
        finally:
            self._listener.listen(128)
            self._resume.set()

    def _serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError), client, socket.create_connection(self._target) as upstream:
            for each in (client, upstream):
                each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            head = _until(client, b"\r\n\r\n")
            if not head:
                return
            trap = self.trap
            if (
                trap is not None
                and trap.point in WIRE
                and trap.point != "before-connect"
                and trap.claims(head)
            ):
                self._spoil(trap, head, client, upstream)
                return
            upstream.sendall(head)
            self._pump(client, upstream)

    def _pump(self, client: socket.socket, upstream: socket.socket) -> None:
        """Pass on bytes both ways until one side ends."""
        with selectors.DefaultSelector() as waiting:
            waiting.register(client, selectors.EVENT_READ, upstream)
            waiting.register(upstream, selectors.EVENT_READ, client)
            while True:
                for key, _ in waiting.select():
                    source = key.fileobj
                    assert isinstance(source, socket.socket)
                    try:
                        chunk = source.recv(65536)
                    except ConnectionResetError:
                        _reset(key.data)
                        return
                    if not chunk:
                        return
                    trap = self.trap
                    if source is upstream and trap is not None and trap.point == "before-connect":
                        self._before_connect(trap, key.data, _all(upstream, chunk))
                        continue
                    key.data.sendall(chunk)

    def _before_connect(self, trap: Trap, client: socket.socket, chunk: bytes) -> None:
        """Give an answer, and act when the connection after it is begun and not yet accepted."""
        with trap._lock:
            first = not trap.sprung.is_set()
            trap.sprung.set()
        if not first:
            client.sendall(chunk)
            return
        with self._full() as filler:
            client.sendall(chunk)
            ends = time.monotonic() + SECONDS
            while not _knocking(self.port, filler):
                if time.monotonic() > ends:
                    trap.sprung.clear()  # nobody came: it is not counted
                    return
                self._shut.wait(0.002)
            trap.act()

    def _spoil(self, trap: Trap, head: bytes, client: socket.socket, upstream: socket.socket) -> None:
        body_size = _length(head)
        if trap.point == "connected":
            if trap.spring():
                upstream.sendall(head)
                self._pump(client, upstream)
            else:
                _reset(client)
            return
        head, _, body = head.partition(b"\r\n\r\n")
        head += b"\r\n\r\n"
        while len(body) < body_size:
            chunk = client.recv(65536)
            if not chunk:
                return
            body += chunk
        half = {"head-sent": 0, "half-sent": len(body) // 2}.get(trap.point)
        if half is not None:
            upstream.sendall(head + body[:half])
            if trap.spring():
                upstream.sendall(body[half:])
                self._pump(client, upstream)
            else:
                _reset(client)
            return
        upstream.sendall(head + body)
        if trap.point == "request-sent":
            goes_on = trap.spring()
            reply = _all(upstream)  # read, so that it is surely applied
            if goes_on:
                client.sendall(reply)
            else:
                _reset(client)
            return
        reply = _all(upstream)
        line, half_reply = reply.find(b"\r\n") + 2, len(reply) // 2
        cut = {"request-applied": 0, "status-received": line, "half-received": half_reply}[trap.point]
        client.sendall(reply[:cut])
        if trap.spring():
            client.sendall(reply[cut:])
        else:
            _reset(client)


def _until(source: socket.socket, end: bytes) -> bytes:
    """Read until `end` was seen; what came after it is kept."""
    seen = b""
    while end not in seen:
        chunk = source.recv(65536)
        if not chunk:
            return seen
        seen += chunk
    return seen


def _all(source: socket.socket, seen: bytes = b"") -> bytes:
    """Read one whole answer, whose sender says how long it is or closes after it."""
    while True:
        head, end, body = seen.partition(b"\r\n\r\n")
        if end and b"content-length:" in head.lower() and len(body) >= _length(head + end):
            return seen
        try:
            chunk = source.recv(65536)
        except ConnectionResetError:
            return seen
        if not chunk:
            return seen
        seen += chunk


def _length(head: bytes) -> int:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line.partition(b":")[2])
    return 0


def _reset(client: socket.socket) -> None:
    """Close with RST, as a peer does that is gone."""
    with contextlib.suppress(OSError):
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()


def _knocking(port: int, but: int) -> bool:
    """Say whether a connection to `port` is begun and not accepted (SYN_SENT)."""
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, remote, state, *_ = line.split()
        if state == "02" and int(remote[-4:], 16) == port and int(local[-4:], 16) != but:
            return True
    return False
