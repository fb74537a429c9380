"""A test's daemon: `orchestrator up` in a process of its own, over the sandbox, and what it says."""

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

TOKEN = "token-of-these-tests"
AUTH = {"authorization": f"Bearer {TOKEN}"}
SECONDS = 30
HALF = (
    "POST /api/v1/jobs/narrator/cancel HTTP/1.1\r\nhost: localhost\r\n"
    f"authorization: Bearer {TOKEN}\r\ncontent-length: 2\r\n\r\n{{"
)
"""A request whose last byte never comes."""
JOBS = """
[orchestrator]
project = "web-tests"
hooks = ["log"]
[providers.oxen]
namespace = "acme"
repo = "support"
[hooks.log]
kind = "command"
command = ["/bin/cat"]
[jobs.narrator]
provider = "cartesia"
[jobs.narrator.spec]
description = "A voice"
language = "en"
model_id = "sonic-3-2026-01-12"
dataset = "dataset_1"
[jobs.broken]
provider = "cartesia"
[jobs.broken.spec]
description = "A voice that does not come out"
language = "en"
model_id = "sonic-3-2026-01-12"
dataset = "dataset_fail-me"
[jobs.chat]
provider = "oxen"
[jobs.chat.spec]
resource = "main/train.parquet"
base_model = "meta-llama/Llama-3.2-1B-Instruct"
script_type = "text_generation"
"""


def environment(**changes: str | None) -> dict[str, str]:
    """The environment without anybody's settings or credentials, and with `changes`; None unsets one."""
    ours = ("ORCHESTRATOR_", "CARTESIA_", "OXEN_", "CLOUDFLARE_", "CO_API_KEY")
    env: dict[str, str | None] = {
        name: value for name, value in os.environ.items() if not name.startswith(ours)
    }
    env |= {
        "ORCHESTRATOR_LISTEN": "127.0.0.1:0",
        "ORCHESTRATOR_POLL_INTERVAL": "1s",
        "ORCHESTRATOR_SANDBOX_STAGE_SECONDS": "0",
        "ORCHESTRATOR_TOKEN": TOKEN,
    }
    return {name: value for name, value in (env | changes).items() if value is not None}


def orchestrator(folder: Path, *arguments: str, **changes: str | None) -> subprocess.CompletedProcess[str]:
    """Run a command over the sandbox to its end."""
    return subprocess.run(
        [sys.executable, "-m", "orchestrator", "--sandbox", *arguments],
        cwd=folder,
        env=environment(**changes),
        capture_output=True,
        text=True,
        timeout=SECONDS * 2,
        check=False,
    )


def document(folder: Path, *arguments: str) -> Any:
    """Run a command and read the JSON that it prints."""
    done = orchestrator(folder, *arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def until(true: Callable[[], Any]) -> Any:
    """Ask again and again until `true` says something true, and return that."""
    deadline = time.monotonic() + SECONDS
    while True:
        found = true()
        if found:
            return found
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.02)


class Daemon:
    """A daemon that runs; `client` speaks to it without a token."""

    def __init__(self, folder: Path, process: "subprocess.Popen[str]") -> None:
        self.folder = folder
        self.process = process
        self.said: list[Mapping[str, Any]] = []
        self._lines: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self._lines.put(line)
        self._lines.put(None)

    def hear(self, event: str) -> Mapping[str, Any]:
        """Return the next line of its log that tells of `event`."""
        while True:
            line = self._lines.get(timeout=SECONDS)
            assert line is not None, f"it ended without {event}: {self.said}"
            if line.startswith("{"):
                self.said.append(json.loads(line))
                if self.said[-1]["event"] == event:
                    return self.said[-1]

    def rest(self) -> str:
        """Return the rest of its log, once it has ended."""
        return "".join(line for line in iter(lambda: self._lines.get(timeout=SECONDS), None))

    def listen(self) -> httpx.Client:
        """Wait until it listens, and return a client of it."""
        self.url: str = self.hear("listening")["url"]
        self.client = httpx.Client(base_url=self.url, timeout=SECONDS, trust_env=False)
        return self.client

    def get(self, path: str, **query: Any) -> Any:
        """Get a document."""
        reply = self.client.get(path, params=query)
        assert reply.status_code == 200, reply.text
        return reply.json()

    def job(self, name: str) -> Any:
        """Get one job."""
        return self.get(f"/api/v1/jobs/{name}")

    def decide(self, name: str, what: str) -> httpx.Response:
        """Cancel or retry a job, with the token."""
        return self.client.post(f"/api/v1/jobs/{name}/{what}", headers=AUTH)

    def stop(self) -> int:
        """Ask it to end, and return its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(SECONDS)


@contextmanager
def running(folder: Path, *arguments: str, jobs: str = JOBS, **changes: str | None) -> Iterator[Daemon]:
    """Run `orchestrator up` in `folder`; it is ended with the test."""
    (folder / "jobs.toml").write_text(jobs)
    command = [sys.executable, "-m", "orchestrator", "--sandbox", "up", *arguments]
    with subprocess.Popen(
        command, cwd=folder, env=environment(**changes), stderr=subprocess.PIPE, text=True
    ) as process:
        daemon = Daemon(folder, process)
        try:
            yield daemon
        finally:
            if process.poll() is None:
                daemon.stop()
            if hasattr(daemon, "client"):
                daemon.client.close()
