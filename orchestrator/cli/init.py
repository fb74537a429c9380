"""`orchestrator init`."""

import json
from importlib.resources import files
from pathlib import Path

import click

from orchestrator.app.kinds import kinds
from orchestrator.cli import _exit
from orchestrator.cli._app import App, app
from orchestrator.config.schema import schema
from orchestrator.config.settings import project_of
from orchestrator.errors import UsageError


@click.command("init")
@click.option("--force", is_flag=True, help="Overwrite an existing jobs.toml.")
@app
def command(app: App, *, force: bool) -> int:
    """Write a starter jobs.toml and its schema."""
    folder = app.cwd
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder", hint=f"mkdir {folder}")
    target = folder / "jobs.toml"
    if target.exists() and not force:
        raise UsageError(f"{target} already exists", hint="--force overwrites it")
    starter = files("orchestrator.cli").joinpath("starter.toml").read_text("utf-8")
    _write(target, starter.replace("PROJECT", project_of(folder.resolve())))
    _write(folder / "jobs.schema.json", json.dumps(schema(kinds()), indent=2, sort_keys=True) + "\n")
    app.say("Wrote jobs.toml and jobs.schema.json. Next:")
    app.say("  orchestrator --sandbox apply --wait   try it against the built-in sandbox")
    app.say("  $EDITOR jobs.toml                     put your dataset's id in, and your hooks")
    app.say("  orchestrator plan                     see what it would buy")
    return _exit.DONE


def _write(path: Path, text: str) -> None:
    path.write_text(text, "utf-8")
