"""Questions to a person; a signal while one is shown ends the command, and nothing is recorded."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import anyio
import click

from orchestrator.cli._app import App

ANSWERS = {"y": True, "yes": True, "n": False, "no": False, "": False}


async def confirm(app: App, question: str, *, yes: bool) -> bool:
    """Ask a person; without a terminal and without `-y` the answer is no."""
    if yes:
        return True
    if not on_terminal():
        app.say("There is no terminal to ask on, so nothing was done; -y answers yes.")
        return False
    with _noted() as signals:
        while True:
            answer = ANSWERS.get(await _line(f"{question} [y/N]: ", signals))
            if answer is not None:
                return answer
            click.echo("Please answer y or n.", err=True)


def on_terminal() -> bool:
    """Say whether a person can be asked: they see the question, and this process may read the answer."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    try:
        return os.tcgetpgrp(sys.stdin.fileno()) == os.getpgrp()
    except OSError:
        return True  # it is not our own terminal, which has no foreground then


async def _line(prompt: str, signals: list[int]) -> str:
    """Return what is typed, in lower case; the end of the input counts as an empty line.

    The event loop waits for the terminal, since inside `input()` it could not act on a signal.
    """
    click.echo(prompt, err=True, nl=False)
    typed = b""
    try:
        await anyio.wait_readable(sys.stdin)
        with suppress(OSError):  # the terminal is gone
            typed = os.read(sys.stdin.fileno(), 4096)  # it gives one line at a time
        if signals:
            await anyio.sleep_forever()  # `run` is about to cancel this
    except anyio.get_cancelled_exc_class():
        click.echo("\nNothing was done.", err=True)
        raise
    if not typed:
        click.echo(err=True)
    return typed.decode(errors="replace").strip().lower()


@contextmanager
def _noted() -> Iterator[list[int]]:
    """Note signals the moment they come: the event loop may hear first of what was typed after them."""
    noted: list[int] = []
    before = {
        number: signal.signal(number, lambda number, _: noted.append(number))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield noted
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
