"""What it costs to start: our commands beside `import click` and `import httpx, sqlalchemy`, in one run."""

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.table import line

ORCHESTRATOR = (sys.executable, "-m", "orchestrator")
FLOORS: Mapping[str, Sequence[str]] = {
    "import click": (sys.executable, "-c", "import click"),
    "import httpx, sqlalchemy": (sys.executable, "-c", "import httpx, sqlalchemy"),
}
WORK: Sequence[tuple[str, Sequence[str], str, str]] = (
    ("--help", ("--help",), "import click", "aim 1.5"),
    ("version", ("version",), "import click", "aim 1.5"),
    ("completion bash", ("completion", "bash"), "import click", "aim 1.5"),
    ("status", ("status",), "import httpx, sqlalchemy", "<= 2.3, aim 1.5"),
)
"""What is measured, its floor, and the goal."""


def seconds(command: Sequence[str], folder: Path) -> float:
    """Run `command` once and return its wall time."""
    begun = time.perf_counter()
    subprocess.run(command, check=True, cwd=folder, capture_output=True)
    return time.perf_counter() - begun


def measure(rounds: int, folder: Path) -> Mapping[str, float]:
    """Return the median time of each command and floor; they take turns, so that a busy spell hits all."""
    commands = {**FLOORS, **{name: (*ORCHESTRATOR, *words) for name, words, _, _ in WORK}}
    for command in commands.values():
        seconds(command, folder)  # the first run compiles, and reads the disk
    times: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(rounds):
        for name, command in commands.items():
            times[name].append(seconds(command, folder))
    return {name: statistics.median(found) for name, found in times.items()}


def show(rounds: int) -> None:
    """Print a line for each command: its time, its floor's, the ratio and the aim."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        subprocess.run([*ORCHESTRATOR, "init", "-q"], check=True, cwd=folder)
        found = measure(rounds, folder)
    for work, _, floor, aim in WORK:
        beside = f"{floor} {found[floor] * 1000:,.0f} ms"
        line(work, f"{found[work] * 1000:,.0f} ms", beside, found[work] / found[floor], aim)
