"""A door in front of PostgreSQL that a test can shut and open: the server is away, and there again."""

import contextlib
import selectors
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock, Thread

import sqlalchemy as sa


class Door:
    """Passes every connection on to the server of `url`, until it is shut."""

    def __init__(self, url: str) -> None:
        self._made = sa.make_url(url)
        self._open: set[socket.socket] = set()
        self._lock = Lock()
        self._away = False
        self._listener = socket.create_server(("127.0.0.1", 0))
        Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        """The same database, through the door."""
        port = self._listener.getsockname()[1]
        through = self._made.set(host="127.0.0.1", port=port, query={"sslmode": "disable"})
        return through.render_as_string(hide_password=False)

    def shut(self) -> None:
        """End every connection, and take no new one."""
        with self._lock:
            self._away = True
            for each in self._open:
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)

    def open(self) -> None:
        """Let connections through again."""
        self._away = False

    def close(self) -> None:
        """Be done with it."""
        self.shut()
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                Thread(target=self._pass_on, args=(client,), daemon=True).start()

    def _pass_on(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError), client, self._server() as server:
            with self._lock:
                if self._away:
                    return
                self._open |= {client, server}
            try:
                _pump(client, server)
            finally:
                with self._lock:
                    self._open -= {client, server}

    def _server(self) -> socket.socket:
        folder = self._made.query.get("host") or self._made.host or "localhost"
        assert isinstance(folder, str)
        port = self._made.port or 5432
        if not folder.startswith("/"):
            return socket.create_connection((folder, port))
        made = socket.socket(socket.AF_UNIX)
        made.connect(f"{folder}/.s.PGSQL.{port}")
        return made


def _pump(client: socket.socket, server: socket.socket) -> None:
    with selectors.DefaultSelector() as waiting:
        waiting.register(client, selectors.EVENT_READ, server)
        waiting.register(server, selectors.EVENT_READ, client)
        while True:
            for key, _ in waiting.select():
                source = key.fileobj
                assert isinstance(source, socket.socket)
                chunk = source.recv(65536)
                if not chunk:
                    return
                key.data.sendall(chunk)


@contextmanager
def door(url: str) -> Iterator[Door]:
    """Stand before a database for the length of a `with`."""
    made = Door(url)
    try:
        yield made
    finally:
        made.close()
