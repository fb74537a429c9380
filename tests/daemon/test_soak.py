"""What a daemon holds does not grow with what it has bought."""

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from orchestrator.sandbox import Options, spawn

SECONDS = "ORCHESTRATOR_SOAK_SECONDS"
"""How long the soak goes on; an hour where it is not set."""
BYTES_A_RUN = 8 << 10
"""How much the second half may grow; by then the caches are nearly full, all of which have a bound."""


def soak(folder: Path, *, warm: int, laps: int, seconds: float) -> Sequence[dict[str, float]]:
    """Return what a daemon held after each lap of twenty runs."""
    program = Path(__file__).with_name("soaking.py")
    with spawn(None, Options(stage_seconds=0)) as url:
        done = subprocess.run(
            [sys.executable, program, url, str(warm), str(laps), str(seconds)],
            cwd=folder,
            stdout=subprocess.PIPE,
            check=True,
        )
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.long
@pytest.mark.timeout(0)
def test_what_it_holds_does_not_grow_with_the_runs_that_have_ended(tmp_path: Path) -> None:
    rows = soak(tmp_path, warm=40, laps=10, seconds=float(os.environ.get(SECONDS, 3600)))
    late = rows[len(rows) // 2 :]
    slopes = {
        held: statistics.linear_regression([row["runs"] for row in late], [row[held] for row in late]).slope
        for held in ("rss", "objects")
    }
    print(len(rows), slopes)  # noqa: T201 - `pytest -rP` shows it
    assert slopes["rss"] < BYTES_A_RUN
    assert slopes["objects"] < 1
