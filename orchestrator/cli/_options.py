"""The options of every command, before or after its name; quick to import, since `--help` needs them."""

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TextIO, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])
FORMS = ("table", "wide", "json", "jsonl", "name", "markdown")
HOSTS_HELP = "Trust this host, which a job file names, with the database's password."
OPTIONS = (
    click.option("-f", "--file", "files", multiple=True, metavar="PATH", help="A job file or a folder."),
    click.option("-C", "directory", metavar="DIR", help="Change to this folder first."),
    click.option("--sandbox", is_flag=True, help="Use the built-in sandbox for every account."),
    click.option("--allow-database-host", "hosts", multiple=True, metavar="HOST", help=HOSTS_HELP),
    click.option("--with-hooks", is_flag=True, help="With --sandbox: really send to hooks."),
    click.option("-o", "--output", type=click.Choice(FORMS), help="The output format; markdown for plan."),
    click.option("--json", "as_json", is_flag=True, help="The same as -o json."),
    click.option("-q", "--quiet", is_flag=True, help="Print only what was asked for."),
    click.option("-v", "--verbose", count=True, help="Log more; twice for everything."),
    click.option("--color", type=click.Choice(["auto", "always", "never"]), help="Colours."),
)
NAMES = (
    *("files", "directory", "sandbox", "with_hooks", "hosts"),
    *("output", "as_json", "quiet", "verbose", "color"),
)
_NAMED = re.compile(
    r"\borchestrator (?=(apply|audit|cancel|config|db|doctor|events|hooks|import|plan|providers|resolve|retry"
    r"|show|status|up|wait|watch|why)\b(?!.* --help))"
)
"""A command in one of our sentences that would do something else without `--sandbox`."""


def common(function: F) -> F:
    """Give a command the common options."""
    for option in reversed(OPTIONS):
        function = option(function)
    return function


def color_on(color: str, stream: TextIO) -> bool:
    """Say whether to colour what goes to `stream`; `color` is what `--color` says."""
    if color != "auto":
        return color == "always"
    return stream.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"


def typed(text: str, *, sandbox: bool) -> str:
    """Name commands in a sentence as they are to be typed where `--sandbox` was."""
    return _NAMED.sub("orchestrator --sandbox ", text) if sandbox else text


@dataclass(frozen=True, kw_only=True, slots=True)
class Form:
    """How to print an error."""

    output: str = "table"
    color: str = "auto"
    sandbox: bool = False


def form_of(arguments: Sequence[str]) -> Form:
    """Read how to print errors from a command line that may itself be wrong."""
    reader = click.Command(
        "any",
        params=list(common(lambda: None).__click_params__),  # type: ignore[attr-defined]  # click puts them there
        add_help_option=False,
        context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
    )
    given = reader.make_context("any", list(arguments), resilient_parsing=True).params
    return Form(
        output=given["output"] or ("json" if given["as_json"] else "table"),
        color=given["color"] or "auto",
        sandbox=given["sandbox"],
    )
