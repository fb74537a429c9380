"""What it costs to start: our commands beside `import click` and `import httpx, sqlalchemy`, in one run.

`python benchmarks/startup.py [ROUNDS]`. What counts is the ratio: the figures belong to the machine.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

ORCHESTRATOR = (sys.executable, "-m", "orchestrator")
FLOORS: Mapping[str, Sequence[str]] = {
    "import click": (sys.executable, "-c", "import click"),
    "import httpx, sqlalchemy": (sys.executable, "-c", "import httpx, sqlalchemy"),
}
WORK: Sequence[tuple[str, Sequence[str], str, float]] = (
    ("--help", ("--help",), "import click", 1.5),
    ("version", ("version",), "import click", 1.5),
    ("completion bash", ("completion", "bash"), "import click", 1.5),
    ("status", ("status",), "import httpx, sqlalchemy", 1.5),
)
"""What is measured, its floor, and how many times the floor it aims at."""


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


def main() -> None:
    """Print a line for each command: its time, its floor's, the ratio and the aim."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        subprocess.run([*ORCHESTRATOR, "init", "-q"], check=True, cwd=folder)
        found = measure(rounds, folder)
    print(f"{'command':<16} {'ms':>5}  {'floor':<25} {'ms':>5}  {'ratio':>5}  {'aim':>4}")
    for work, _, floor, aim in WORK:
        ratio = found[work] / found[floor]
        line = f"{work:<16} {found[work] * 1000:>5.0f}  {floor:<25} {found[floor] * 1000:>5.0f}"
        print(f"{line}  {ratio:>5.2f}  {aim:>4}")


if __name__ == "__main__":
    main()
