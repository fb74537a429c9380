"""A signal that comes while the program is still being loaded ends it as the contract says."""

import subprocess
import sys
from pathlib import Path

import pytest
from drive import SECONDS, Place, cartesia

PLANT = """
import os, sys

class Planted:
    def find_spec(self, name, path=None, target=None):
        if name == os.environ["PLANTED_AT"]:
            sys.meta_path.remove(self)
            os.kill(os.getpid(), int(os.environ["PLANTED"]))

sys.meta_path.insert(0, Planted())
"""
"""Sends the process a signal when it begins to load a module."""


@pytest.mark.parametrize(
    ("command", "at", "number", "code"),
    [
        ("up", "click", 15, 143),  # it is not known yet what is asked for
        ("up", "pydantic", 15, 0),
        ("up", "pydantic", 2, 0),
        ("up", "alembic", 15, 0),  # the database is being made
        ("status", "click", 2, 130),
        ("status", "pydantic", 2, 130),
        ("status", "pydantic", 15, 143),
    ],
)
def test_it_ends_with_a_code_of_its_own(
    place: Place, tmp_path: Path, command: str, at: str, number: int, code: int
) -> None:
    place.write(cartesia("voice"))
    (tmp_path / "sitecustomize.py").write_text(PLANT)
    planted = {"PYTHONPATH": str(tmp_path), "PLANTED_AT": at, "PLANTED": str(number)}
    done = subprocess.run(
        [sys.executable, "-m", "orchestrator", command],
        cwd=place.folder,
        env={**place.env, **planted},
        capture_output=True,
        timeout=2 * SECONDS,
        check=False,
    )
    assert (done.returncode, b"Traceback" in done.stderr) == (code, False), done.stderr
    assert place.ledger().requests == []
