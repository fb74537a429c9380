"""The daemon as it runs: what it uses while nothing happens, and how soon a hook hears of a change."""

import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

from benchmarks.world import Provider, environment, place

SETTLE_SECONDS = 8.0
TICKS = os.sysconf("SC_CLK_TCK")


@contextmanager
def running(folder: Path) -> Iterator[int]:
    """Run `orchestrator up`; gives its process id."""
    command = [sys.executable, "-m", "orchestrator", "up", "-q"]
    process = subprocess.Popen(command, cwd=folder, env=environment() | {"HOME": str(folder)})
    try:
        yield process.pid
    finally:
        process.terminate()
        process.wait()


def cpu(pid: int) -> float:
    """Return the seconds of CPU that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def idle(provider: Provider, ids: Sequence[str], seconds: float) -> float:
    """Return the seconds of CPU a minute that the daemon uses with `ids` open, polling included."""
    with place(provider, ids) as folder, running(folder) as pid:
        time.sleep(SETTLE_SECONDS)
        before, begun = cpu(pid), time.monotonic()
        time.sleep(seconds)
        return (cpu(pid) - before) / (time.monotonic() - begun) * 60


class Receiver:
    """Takes webhooks, and remembers when each job's came."""

    def __init__(self) -> None:
        self.came: dict[str, float] = {}
        came = self.came

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"])).decode()
                remote_id = body.partition('"remote_id":"')[2].partition('"')[0]
                came.setdefault(remote_id, time.monotonic())
                self.send_response(204)
                self.end_headers()

            def log_message(self, *args: Any) -> None:
                """Say nothing."""

        class Server(ThreadingHTTPServer):
            request_queue_size = 256  # by default the sixth connection at once is turned away

        self.server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook"
        Thread(target=self.server.serve_forever, daemon=True).start()


def latency(provider: Provider, count: int, interval: float) -> dict[str, float]:
    """Return how long it takes from a provider's change to its hook: the middle, the 99th percentile."""
    receiver, ids = Receiver(), provider.seed(count)
    draw, changed = random.Random(4), {}  # noqa: S311 - no secret
    with place(provider, ids, interval=f"{interval:g}s", hook=receiver.url) as folder, running(folder):
        time.sleep(SETTLE_SECONDS)
        for remote_id in ids:
            time.sleep(draw.uniform(0, 0.2))
            provider.set(remote_id, "training")
            changed[remote_id] = time.monotonic()
        ends = time.monotonic() + interval * 5 + 10
        while len(receiver.came) < count and time.monotonic() < ends:
            time.sleep(0.05)
    receiver.server.shutdown()
    waits = sorted(receiver.came[one] - changed[one] for one in ids)
    return {"p50": statistics.median(waits), "p99": waits[min(len(waits) - 1, round(len(waits) * 0.99))]}
