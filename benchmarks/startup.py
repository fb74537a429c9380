"""What it costs to start, in CPU: our commands beside the imports that they cannot do without."""

import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.command import cpu
from benchmarks.table import line

ORCHESTRATOR = (sys.executable, "-m", "orchestrator")
FLOORS: Mapping[str, Sequence[str]] = {
    "import click": (sys.executable, "-c", "import click"),
    "import sqlalchemy, click": (sys.executable, "-c", "import sqlalchemy, click"),
}
WORK: Sequence[tuple[str, Sequence[str], str, str]] = (
    ("--help", ("--help",), "import click", "aim 1.5"),
    ("version", ("version",), "import click", "aim 1.5"),
    ("completion bash", ("completion", "bash"), "import click", "aim 1.5"),
    ("status", ("status",), "import sqlalchemy, click", "<= 1.6, aim 1.4"),
)
"""What is measured, its floor, and the goal."""


def measure(rounds: int, folder: Path) -> Mapping[str, float]:
    """Return the median CPU of each command and floor; they take turns, so that a busy spell hits all."""
    commands = {**FLOORS, **{name: (*ORCHESTRATOR, *words) for name, words, _, _ in WORK}}
    for command in commands.values():
        cpu(command, folder)  # the first run compiles, and reads the disk
    times: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(rounds):
        for name, command in commands.items():
            times[name].append(cpu(command, folder))
    return {name: statistics.median(found) for name, found in times.items()}


def show(rounds: int) -> None:
    """Print a line for each command: its CPU, its floor's, the ratio and the aim."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        subprocess.run([*ORCHESTRATOR, "init", "-q"], check=True, cwd=folder)
        found = measure(rounds, folder)
    for work, _, floor, aim in WORK:
        beside = f"{floor} {found[floor] * 1000:,.0f} ms"
        line(work, f"{found[work] * 1000:,.0f} ms", beside, found[work] / found[floor], aim)
