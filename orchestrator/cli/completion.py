"""`orchestrator completion SHELL`."""

import click
from click.shell_completion import get_completion_class

from orchestrator import cli


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> None:
    """Print a shell's completion script; for bash: `eval "$(orchestrator completion bash)"`."""
    kind = get_completion_class(shell)
    if kind is None:  # click knows all three
        raise click.UsageError(f"no completion for {shell}")
    click.echo(kind(cli.cli, {}, "orchestrator", "_ORCHESTRATOR_COMPLETE").source())
