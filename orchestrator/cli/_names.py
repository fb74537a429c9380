"""Names of jobs, accounts and hooks for a shell's completion: from the job files alone, and quick.

A stand-in takes the place of a command that takes a name, so that the command itself is not loaded. A
job file that is wrong completes nothing.
"""

import os
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import click
from click.shell_completion import CompletionItem

from orchestrator.cli._options import common
from orchestrator.config.find import find
from orchestrator.errors import SettingsError

TAKES: Mapping[tuple[str, ...], str] = {
    **dict.fromkeys([("status",), ("why",), ("watch",), ("wait",)], "jobs"),
    **dict.fromkeys([("show",), ("events",), ("cancel",), ("retry",), ("import",), ("resolve",)], "jobs"),
    ("audit",): "providers",
    ("hooks", "test"): "hooks",
    ("hooks", "drop"): "hooks",
    ("hooks", "explain"): "jobs",
}
"""The commands that take a name, and the section of a job file that declares it."""
MANY = frozenset({("status",), ("why",), ("watch",), ("wait",), ("audit",)})
OPTIONS: Mapping[str, str] = {"--hook": "hooks", "--to": "hooks"}
GROUPS: Mapping[str, tuple[str, ...]] = {
    "config": ("show",),
    "db": ("upgrade", "current", "check", "backup"),
    "hooks": ("secret", "test", "log", "explain", "redeliver", "drop"),
}
LARGEST = 2**20
"""Bytes of the largest file that is read between two keystrokes."""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
Load = Callable[[Sequence[str]], click.Command | None]


class Named(click.Command):
    """Stands in for a command while one of its names is completed."""

    def __init__(self, words: Sequence[str], section: str, load: Load) -> None:
        taken = click.Argument(["names"], nargs=-1, shell_complete=self._complete)
        params = [*common(lambda: None).__click_params__, taken]  # type: ignore[attr-defined]  # click's own
        settings = {"ignore_unknown_options": True, "allow_extra_args": True}
        super().__init__(words[-1], params=params, context_settings=settings, add_help_option=False)
        self._words, self._section, self._load = tuple(words), section, load

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete an option, which only the command itself knows."""
        command = self._load(self._words)
        return command.shell_complete(ctx, incomplete) if command is not None else []

    def _complete(self, ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        given = [word for word in ctx.params.get("names") or () if not word.startswith("-")]
        if given and self._words not in MANY:
            return []
        options = {**ctx.find_root().params, **{key: value for key, value in ctx.params.items() if value}}
        found = names(self._section, options)
        return [CompletionItem(name) for name in found if name.startswith(incomplete) and name not in given]


def stand_in(args: Sequence[str], load: Load) -> tuple[str, click.Command, list[str]] | None:
    """Return what completes the word after `args` in place of the command that `load` would load."""
    if args[-1] in OPTIONS:
        return args[0], Named(args[:1], OPTIONS[args[-1]], load), []
    if len(args) == 1 and args[0] in GROUPS:
        return args[0], click.Group(args[0], commands=[click.Command(name) for name in GROUPS[args[0]]]), []
    words = next((words for words in TAKES if tuple(args[: len(words)]) == words), None)
    if words is None or (args[-1].startswith("-") and _takes_value(load(words), args[-1])):
        return None
    return args[0], Named(words, TAKES[words], load), list(args[len(words) :])


def _takes_value(command: click.Command | None, word: str) -> bool:
    for option in command.params if command is not None else ():
        if isinstance(option, click.Option) and word in option.opts:
            return not option.is_flag and not option.count
    return False


def names(section: str, options: Mapping[str, object]) -> list[str]:
    """Return what the job files declare in `section`, in their order."""
    try:
        cwd = Path.cwd() / str(options.get("directory") or "")
        named = options.get("files")
        files = find(list(named) if isinstance(named, tuple | list) else [], cwd, os.environ)
        return list(dict.fromkeys(name for file in files for name in _declared(file, section)))
    except (OSError, ValueError, RecursionError, SettingsError):
        return []


def _declared(file: Path, section: str) -> Iterator[str]:
    if not file.is_file() or file.stat().st_size > LARGEST:
        return
    tables = tomllib.loads(file.read_text("utf-8-sig")).get(section)
    yield from (name for name in tables if NAME.fullmatch(name)) if isinstance(tables, dict) else ()
