"""Starts commands in real processes: forked from a warm one, or the installed program from cold."""

import itertools
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Condition, Thread
from typing import Any

COMMAND = str(Path(sys.executable).with_name("orchestrator"))
SECONDS = 60.0


@dataclass
class Process:
    """One command, as far as it is known what became of it."""

    pid: int
    err: Path
    cold: "subprocess.Popen[bytes] | None" = None
    code: int | None = None
    stopped: bool = False
    changed: Condition = field(default_factory=Condition)

    def poll(self) -> int | None:
        """Return the exit code, negative for a signal, None while it lives."""
        if self.cold is not None and self.code is None:
            self.code = self.cold.poll()
        return self.code

    def wait(self, seconds: float = SECONDS) -> int | None:
        """Wait for its end."""
        if self.cold is not None:
            try:
                self.code = self.cold.wait(seconds)
            except subprocess.TimeoutExpired:
                return None
            return self.code
        with self.changed:
            self.changed.wait_for(lambda: self.code is not None, seconds)
        return self.code

    def rest(self, seconds: float) -> None:
        """Wait until something became of it, for a while."""
        if self.cold is not None:
            self.wait(seconds)
            self.stopped = self.code is None and _state(self.pid) == "T"
            return
        with self.changed:
            self.changed.wait_for(lambda: self.code is not None or self.stopped, seconds)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            if number is signal.SIGCONT:
                self.stopped = False
            os.kill(self.pid, number)

    def freeze(self) -> None:
        """Stop it, and return when it stands still."""
        self.signal(signal.SIGSTOP)
        with self.changed:
            self.changed.wait_for(lambda: self.stopped or self.code is not None, SECONDS)

    def told(self, **news: Any) -> None:
        """Take the news of it."""
        with self.changed:
            for name, value in news.items():
                setattr(self, name, value)
            self.changed.notify_all()


def _state(pid: int) -> str:
    """Return the letter of the process's state, as in proc_pid_stat(5)."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


class Runner:
    """The warm process of one test run; `package` is where a changed copy of the program stands."""

    def __init__(self, package: Path | None = None) -> None:
        self._package = package
        env = {**os.environ, **self._path()}
        self._server = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("warm.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=env,
        )
        self._orders = itertools.count(1)
        self._placed: dict[int, int] = {}
        self._processes: dict[int, Process] = {}
        self._early: dict[int, list[dict[str, Any]]] = {}
        self._news = Condition()
        assert self._server.stdout is not None
        ready = json.loads(self._server.stdout.readline())
        if package is not None:
            assert Path(ready["package"]).is_relative_to(package), ready
        self._thread = Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _path(self) -> dict[str, str]:
        return {"PYTHONPATH": str(self._package)} if self._package else {}

    def start(
        self,
        args: Sequence[str],
        *,
        cwd: Path,
        env: Mapping[str, str],
        log: str,
        cold: bool = False,
        alarm: float = 0,
    ) -> Process:
        """Start `orchestrator *args`; `alarm` ends it by a signal of the kernel after so many seconds."""
        out, err = cwd / f"{log}.out", cwd / f"{log}.err"
        if cold:
            with out.open("ab") as stdout, err.open("ab") as stderr:
                process = subprocess.Popen(
                    [COMMAND, *args],
                    cwd=cwd,
                    env={**env, **self._path()},
                    stdin=subprocess.DEVNULL,
                    stdout=stdout,
                    stderr=stderr,
                )
            return Process(process.pid, err, cold=process)
        number = next(self._orders)
        order = {
            "order": number,
            "args": list(args),
            "cwd": str(cwd),
            "env": {**env, **self._path()},
            "out": str(out),
            "err": str(err),
            "alarm": alarm,
        }
        assert self._server.stdin is not None
        with self._news:
            self._server.stdin.write(json.dumps(order).encode() + b"\n")
            self._server.stdin.flush()
            assert self._news.wait_for(lambda: number in self._placed, SECONDS), "the warm process is gone"
            made = Process(self._placed.pop(number), err)
            self._processes[made.pid] = made
            early = self._early.pop(made.pid, [])
        for news in early:
            made.told(**news)
        return made

    def _listen(self) -> None:
        assert self._server.stdout is not None
        for raw in self._server.stdout:
            line = json.loads(raw)
            with self._news:
                if "order" in line:
                    self._processes.pop(line["pid"], None)
                    self._placed[line["order"]] = line["pid"]
                    self._early[line["pid"]] = []
                    self._news.notify_all()
                    continue
                pid = line.pop("pid")
                process = self._processes.get(pid)
                if process is None:
                    self._early.setdefault(pid, []).append(line)
                    continue
            process.told(**line)

    def close(self) -> None:
        """End the warm process."""
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.close()
        self._server.wait()
        self._thread.join()
        self._server.stdout.close()
