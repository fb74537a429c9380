"""`orchestrator version`."""

import click

from orchestrator import __version__


@click.command("version")
def command() -> None:
    """Print the version."""
    click.echo(f"orchestrator {__version__}")
