"""A sandbox in a process of its own, which ends when its parent does."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from orchestrator.sandbox.options import Options, to_flags


@dataclass(frozen=True, kw_only=True, slots=True)
class Child:
    """A running sandbox process; its end of our pipe is how it learns that we are gone."""

    url: str
    process: "subprocess.Popen[bytes]"

    def kill(self) -> None:
        """End it with SIGKILL, in the middle of whatever it does."""
        self.process.kill()
        self._reap()

    def stop(self) -> None:
        """End it by closing its standard input; after five seconds by SIGKILL."""
        if self.process.stdin is not None:
            self.process.stdin.close()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
        self._reap()

    def _reap(self) -> None:
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()


def start(state: Path | None = None, options: Options | None = None, *, port: int = 0) -> Child:
    """Start a sandbox process on loopback and wait until it listens; raises OSError when it cannot."""
    command = [sys.executable, "-m", "orchestrator.sandbox", f"--port={port}", "--child"]
    command += to_flags(options or Options())
    command += [f"--state={state}"] if state is not None else []
    # A terminal's Ctrl-C is for us alone: the child is in a group of its own, and deaf until it is.
    heard = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, process_group=0)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, heard)
    line = process.stdout.readline() if process.stdout is not None else b""
    if not line:
        child = Child(url="", process=process)
        child.stop()
        raise OSError(f"the sandbox did not start (exit code {process.returncode})")
    return Child(url=f"http://127.0.0.1:{json.loads(line)['port']}", process=process)


@contextmanager
def spawn(state: Path | None = None, options: Options | None = None) -> Iterator[str]:
    """Run a sandbox process on a free port of loopback for the length of a `with`; gives its base URL."""
    child = start(state, options)
    try:
        yield child.url
    finally:
        child.stop()
