"""What a person waits for at every keystroke loads nothing heavy."""

import re
import subprocess
import sys

import pytest

HEAVY = {"alembic", "apscheduler", "fastapi", "httpx", "pydantic", "rich", "sqlalchemy"}


def loaded(*arguments: str) -> set[str]:
    """Return the top-level modules that a command imports, by Python's own account."""
    command = [sys.executable, "-X", "importtime", "-m", "orchestrator", *arguments]
    report = subprocess.run(command, check=True, capture_output=True, text=True).stderr
    return {name.partition(".")[0] for name in re.findall(r"\| +([A-Za-z_][\w.]*)$", report, re.MULTILINE)}


@pytest.mark.parametrize(
    "arguments", [("--help",), ("--version",), ("version",), ("completion", "bash")], ids=" ".join
)
def test_nothing_heavy_is_loaded(arguments: tuple[str, ...]) -> None:
    assert loaded(*arguments) & HEAVY == set()


def test_the_account_is_true() -> None:
    assert {"click", "orchestrator"} <= loaded("--help")
    assert {"pydantic"} <= loaded("schema")
