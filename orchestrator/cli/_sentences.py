"""Sentences for people, whole in a pipe, and wrapped between words on a terminal."""

from typing import TextIO

import click

from orchestrator.cli._table import width


def fill(text: str, stream: TextIO, *, color: bool) -> None:
    """Print sentences: on a terminal they are wrapped between words."""
    room = width(stream)
    if room is None or all(len(line) <= room and line.isascii() for line in text.split("\n")):
        click.echo(text, file=stream, color=color)
        return
    from orchestrator.cli._screen import fill as wrap

    wrap(text, stream, color=color)
