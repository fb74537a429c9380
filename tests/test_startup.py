"""What a person waits for at every keystroke loads nothing heavy."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from orchestrator.cli import COMMANDS, cli
from orchestrator.cli._names import GROUPS, MANY, TAKES

HEAVY = {"alembic", "apscheduler", "fastapi", "httpx", "pydantic", "rich", "sqlalchemy"}


def imported(*arguments: str, **env: str) -> set[str]:
    """Return the modules that a command imports, by Python's own account."""
    command = [sys.executable, "-X", "importtime", "-m", "orchestrator", *arguments]
    report = subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ | env).stderr
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


@pytest.mark.parametrize("words", ["sta", "show ", "hooks ", "hooks test ", "hooks log --hook "])
def test_completion_loads_nothing_heavy(words: str, tmp_path: Path) -> None:
    (tmp_path / "jobs.toml").write_text("[jobs.voice]\n")
    line = f"orchestrator -C {tmp_path} {words}"
    env = {"_ORCHESTRATOR_COMPLETE": "bash_complete", "COMP_WORDS": line}
    names = imported(**env, COMP_CWORD=str(line.count(" ")))
    assert {name.partition(".")[0] for name in names} & (HEAVY | {"anyio", "structlog"}) == set()


def leaves(command: click.Command, *words: str) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    if isinstance(command, click.Group):
        for name in command.list_commands(click.Context(command)):
            found = command.get_command(click.Context(command), name)
            assert found is not None
            yield from leaves(found, *words, name)
    else:
        yield words, command


def test_completion_knows_the_commands_as_they_are() -> None:
    groups: dict[str, list[str]] = {words[0]: [] for words, _ in leaves(cli) if len(words) > 1}
    for words, command in leaves(cli):
        if len(words) > 1:
            groups[words[0]].append(words[1])
        named = [one for one in command.params if isinstance(one, click.Argument)][:1]
        takes = [one for one in named if one.name in ("job", "jobs", "accounts", "hook")]
        assert words == ("hooks", "test") or bool(takes) == (words in TAKES), words
        assert not takes or (takes[0].nargs == -1) == (words in MANY), words
    assert {name: sorted(found) for name, found in groups.items()} == {
        name: sorted(found) for name, found in GROUPS.items()
    }
    assert {words[0] for words in TAKES} <= set(COMMANDS)
