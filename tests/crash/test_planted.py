"""A harness that cannot fail proves nothing: each planted bug must be caught, by the test that is named.

Every file of `planted/` is a patch whose first line names that test. It is applied to a copy of the program,
which the test then drives; `pytest -m long tests/crash/test_planted.py -k no-intent` plays one.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import orchestrator
from crash.report import keep

ROOT = Path(__file__).parents[2]
PLANTS = sorted((Path(__file__).parent / "planted").glob("*.patch"))


def caught_by(plant: Path) -> str:
    """Return the test that must fail."""
    return plant.read_text().splitlines()[0].removeprefix("Caught by: ")


def copied(folder: Path) -> Path:
    """Copy the program, with its migrations beside it."""
    source = Path(orchestrator.__file__).parent
    shutil.copytree(source, folder / "orchestrator", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(source.parent / "migrations", folder / "migrations")
    return folder


def planted(plant: Path, package: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    """Apply a patch; it may stand some lines away from where it was made."""
    env = {**os.environ, "GIT_CEILING_DIRECTORIES": str(package.parent)}
    command = ["git", "apply", "-C1", *options, str(plant)]
    return subprocess.run(command, cwd=package, env=env, capture_output=True, text=True, check=False)


def play(package: Path, test: str) -> "subprocess.CompletedProcess[str]":
    """Run one test on the program at `package`."""
    env = {**os.environ, "PYTHONPATH": str(package), "CRASH_PACKAGE": str(package)}
    env |= {"CRASH_SEED": "1", "CRASH_SCRIPT_COUNT": "100"}
    env.pop("CRASH_RESULTS", None)
    program = str(Path(sys.executable).with_name("pytest"))
    command = [program, "-q", "-x", "-n", "0", "-p", "no:cacheprovider", "--timeout=900", test]
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)


def test_each_plant_still_has_its_place(tmp_path: Path) -> None:
    package = copied(tmp_path)
    lost = {
        plant.stem: done.stderr for plant in PLANTS if (done := planted(plant, package, "--check")).returncode
    }
    assert not lost
    assert len(PLANTS) == 20


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("plant", PLANTS, ids=[plant.stem for plant in PLANTS])
def test_is_caught(plant: Path, tmp_path: Path) -> None:
    package = copied(tmp_path)
    assert planted(plant, package).returncode == 0
    done = play(package, caught_by(plant))
    failed = [line for line in done.stdout.splitlines() if line.startswith("FAILED ")]
    caught = any(caught_by(plant) in line for line in failed)
    keep(kind="planted", name=plant.stem, by=caught_by(plant), caught=caught)
    assert caught, f"it passed:\n{done.stdout}\n{done.stderr}"


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("test", sorted({caught_by(plant) for plant in PLANTS}))
def test_is_quiet_where_nothing_is_planted(test: str, tmp_path: Path) -> None:
    done = play(copied(tmp_path), test)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
