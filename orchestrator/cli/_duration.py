"""Durations on the command line, in the words of the job file."""

from typing import Any

import click

from orchestrator.config.duration import parse


class Duration(click.ParamType[float]):
    """A length of time such as `90s` or `2h30m`, as seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Read it, or fail as wrong use."""
        try:
            return parse(str(value)).total_seconds()
        except ValueError as error:
            self.fail(str(error), param, ctx)


DURATION = Duration()
