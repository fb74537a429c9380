"""A terminal of its own for an installed command, with a person who reads it and types."""

import fcntl
import os
import pty
import re
import select
import signal
import subprocess
import termios
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from drive import COMMAND, SECONDS, Place, clean
from warm import Forked

CTRL_C = "\x03"
STYLE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal:
    """A command on a controlling terminal, so that Ctrl-C is what it is for a person."""

    def __init__(self, place: Place, args: Sequence[str]) -> None:
        self._screen, self._theirs = pty.openpty()
        self.args = args
        self.process = _launch(place, args, self._theirs)
        self._seen = b""

    @property
    def raw(self) -> str:
        """All that the screen was sent so far, with its colours."""
        self._look(0)
        return self._seen.decode(errors="replace")

    @property
    def text(self) -> str:
        """All that the screen has shown so far, without colours."""
        self._look(0)
        return STYLE.sub("", self._seen.decode(errors="replace")).replace("\r\n", "\n")

    def until(self, text: str) -> None:
        """Read until the screen shows `text`."""
        ends = time.monotonic() + SECONDS
        while text not in self.text:
            ended = self.process.poll() is not None and text not in self.text
            if time.monotonic() > ends or ended or not self._look(0.1):
                pytest.fail(f"{self.args} never showed {text!r}:\n{self.text}")

    def type(self, keys: str) -> None:
        """Press keys; a command that has ended does not see them."""
        with suppress(OSError):
            os.write(self._screen, keys.encode())

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def wait(self) -> int:
        """Return how it ended: the code, or as a shell has it for one that a signal ended."""
        ends = time.monotonic() + SECONDS
        while self.process.poll() is None:
            if time.monotonic() > ends:
                pytest.fail(f"{self.args} still runs:\n{self.text}")
            self._look(0.02)
        clean(self.text)
        code = self.process.returncode or 0
        return 128 - code if code < 0 else code

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._screen)
        os.close(self._theirs)

    def _look(self, seconds: float) -> bool:
        """Read what is there, waiting for it so long at most; False at the end."""
        if not select.select([self._screen], [], [], max(0, seconds))[0]:
            return True
        with suppress(OSError):  # nobody holds the other side any more
            chunk = os.read(self._screen, 65536)
            self._seen += chunk
            return bool(chunk)
        return False


def _launch(place: Place, args: Sequence[str], theirs: int) -> "subprocess.Popen[bytes] | Forked":
    if place.warm is not None:
        name = os.ttyname(theirs)
        return place.warm.start(args, place.env, place.folder, Path(name), Path(name), name)
    return subprocess.Popen(
        [COMMAND, *args],
        cwd=place.folder,
        env=place.env,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )


@contextmanager
def on_terminals(place: Place, *commands: Sequence[str]) -> Iterator[list[Terminal]]:
    """Run installed commands, each on a terminal of its own."""
    started: list[Terminal] = []
    try:
        started.extend(Terminal(place, args) for args in commands)
        yield started
    finally:
        for each in started:
            each.close()
