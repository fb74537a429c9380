"""`orchestrator schema`."""

import json

import click

from orchestrator.app.kinds import kinds
from orchestrator.config.schema import schema


@click.command("schema")
def command() -> None:
    """Print the job file's JSON Schema, for editors: `#:schema ./jobs.schema.json` in the first line."""
    click.echo(json.dumps(schema(kinds()), indent=2, sort_keys=True, ensure_ascii=False))
