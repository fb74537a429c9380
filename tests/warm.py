"""A process that has the command loaded and forks for each call: the same entry point, imported once."""

import gc
import importlib
import json
import os
import pkgutil
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, NoReturn

NUMBER = struct.Struct("=q")
"""How a process number and then its end are told: both may wait in the socket together."""


class Forked:
    """A command that a warm process runs; speaks as `subprocess.Popen` does."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self.pid = NUMBER.unpack(connection.recv(NUMBER.size, socket.MSG_WAITALL))[0]
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Return how it ended, None while it runs."""
        if self.returncode is None:
            self._await(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end."""
        if self.returncode is None:
            self._await(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired("orchestrator", timeout or 0)
        return self.returncode

    def _await(self, timeout: float | None) -> None:
        self._connection.settimeout(timeout)
        try:
            (status,) = NUMBER.unpack(self._connection.recv(NUMBER.size))
        except (BlockingIOError, TimeoutError):
            return
        self.returncode = os.waitstatus_to_exitcode(status)
        self._connection.close()

    def send_signal(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End it at once."""
        self.send_signal(signal.SIGKILL)


class Warm:
    """Where to ask for a fork."""

    def __init__(self, path: str) -> None:
        self._path = path

    def start(
        self,
        args: Sequence[str],
        env: Mapping[str, str],
        cwd: Path,
        out: Path,
        err: Path,
        typed: str = os.devnull,
    ) -> Forked:
        """Run the command with its output in two files, and nothing but what is `typed` as its input.

        A terminal that it opens first becomes its own, so that Ctrl-C is what it is for a person.
        """
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(self._path)
        order = {"args": list(args), "env": dict(env), "cwd": str(cwd), "in": typed}
        order |= {"out": str(out), "err": str(err)}
        connection.sendall(json.dumps(order).encode() + b"\n")
        return Forked(connection)


@contextmanager
def warm(folder: Path) -> Iterator[Warm]:
    """Run a warm process for the length of a `with`."""
    path = str(folder / "warm")
    process = subprocess.Popen(
        [sys.executable, __file__, path], stdin=subprocess.DEVNULL, env={**os.environ, "LC_ALL": "C.UTF-8"}
    )
    try:
        while not os.path.exists(path):
            if process.poll() is not None:
                raise RuntimeError("the command does not load")
            time.sleep(0.01)
        yield Warm(path)
    finally:
        process.kill()
        process.wait()


def _serve(path: str) -> NoReturn:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"{path}.new")
        server.listen(64)
        os.rename(f"{path}.new", path)
        while True:
            connection, _ = server.accept()
            if os.fork() == 0:
                server.close()
                _look_after(connection)
            connection.close()


def _look_after(connection: socket.socket) -> NoReturn:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    with connection.makefile("r") as reader:
        order = json.loads(reader.readline())
    pid = os.fork()
    if pid == 0:
        connection.close()
        _run(order)
    connection.sendall(NUMBER.pack(pid))
    _, status = os.waitpid(pid, 0)
    try:
        connection.sendall(NUMBER.pack(status))
    finally:
        os._exit(0)


def _run(order: Mapping[str, Any]) -> NoReturn:
    os.setsid()
    os.chdir(order["cwd"])
    os.environ.clear()
    os.environ.update(order["env"])
    for number, name in enumerate((order["in"], order["out"], order["err"])):
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC if number else os.O_RDONLY
        file = os.open(name, flags, 0o600)
        os.dup2(file, number)
        os.close(file)
    sys.argv = ["orchestrator", *order["args"]]
    (entry,) = entry_points(group="console_scripts", name="orchestrator")
    code = 1
    try:
        entry.load()()
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _load() -> None:
    for name in ("cli", "daemon", "app", "worker", "store", "providers"):
        package = importlib.import_module(f"orchestrator.{name}")
        for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)
    importlib.import_module("orchestrator.daemon")
    importlib.import_module("orchestrator.app.kinds").kinds()


if __name__ == "__main__":
    _load()
    gc.freeze()
    _serve(sys.argv[1])
