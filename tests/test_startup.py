"""What a person waits for at every keystroke loads nothing heavy."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = {"alembic", "apscheduler", "fastapi", "httpx", "pydantic", "rich", "sqlalchemy"}


def imported(*arguments: str) -> set[str]:
    """Return the modules that a command imports, by Python's own account."""
    command = [sys.executable, "-X", "importtime", "-m", "orchestrator", *arguments]
    report = subprocess.run(command, check=True, capture_output=True, text=True).stderr
    return set(re.findall(r"\| +([A-Za-z_][\w.]*)$", report, re.MULTILINE))


def loaded(*arguments: str) -> set[str]:
    """Return the top-level ones."""
    return {name.partition(".")[0] for name in imported(*arguments)}


@pytest.mark.parametrize(
    "arguments", [("--help",), ("--version",), ("version",), ("completion", "bash")], ids=" ".join
)
def test_nothing_heavy_is_loaded(arguments: tuple[str, ...]) -> None:
    assert loaded(*arguments) & HEAVY == set()


def test_rich_is_loaded_where_a_terminal_is_drawn_on_and_nowhere_else(tmp_path: Path) -> None:
    (tmp_path / "jobs.toml").write_text("")
    names = imported("-C", str(tmp_path), "status")
    assert "structlog" in names
    assert "rich.console" not in names  # which structlog would load by itself


def test_the_account_is_true() -> None:
    assert {"click", "orchestrator"} <= loaded("--help")
    assert {"pydantic"} <= loaded("schema")
