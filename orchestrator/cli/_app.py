"""What every command shares: the common options, the job files, the store, and how it prints."""

import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from functools import wraps
from pathlib import Path
from typing import Any, TextIO, TypeVar

import anyio
import click

from orchestrator.app.documents import SCHEMA_VERSION, Document, as_json
from orchestrator.cli._log import configure
from orchestrator.cli._options import NAMES, Form, color_on, common, typed
from orchestrator.cli._sentences import fill
from orchestrator.cli._table import Column, Table
from orchestrator.config.address import ALLOWED_HOSTS
from orchestrator.config.find import find
from orchestrator.config.manifest import Manifest, Settings
from orchestrator.config.placeholder import Placeholders
from orchestrator.config.settings import load_settings, rehearsed
from orchestrator.errors import SettingsError
from orchestrator.net.redaction import redact
from orchestrator.store.opening import FIRST_WAIT, open_store, read_store, recorded
from orchestrator.store.store import Store

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, kw_only=True)
class App:
    """The options that every command takes, and what follows from them."""

    files: tuple[str, ...] = ()
    directory: str | None = None
    sandbox: bool = False
    hosts: tuple[str, ...] = ()
    with_hooks: bool = False
    output: str = "table"
    quiet: bool = False
    verbose: int = 0
    color: str = "auto"
    tour: bool = False
    """Name commands without `--sandbox`, as they are typed for real accounts."""
    sandboxes: list[str] = field(default_factory=list)
    """The address of the sandbox that runs, once it does."""

    @property
    def cwd(self) -> Path:
        """The folder that the command works in."""
        return Path.cwd() / (self.directory or "")

    @property
    def env(self) -> Mapping[str, str]:
        """The environment, with the database hosts that the command line allows beside those it does."""
        hosts = ",".join((*self.hosts, os.environ.get(ALLOWED_HOSTS, "")))
        return {**os.environ, ALLOWED_HOSTS: hosts} if self.hosts else os.environ

    def find(self) -> tuple[Path, ...]:
        """Return the job files."""
        if not self.cwd.is_dir():
            raise SettingsError(f"{self.cwd}: no such folder")
        return find(self.files, self.cwd, os.environ)

    def settings(self) -> Settings:
        """Read `[orchestrator]` alone, so that a broken job hides no status."""
        files = self.find()
        return self._own(load_settings(files, self.env)[0], files[0].parent)

    def manifest(self, *, buys: bool = True) -> Manifest:
        """Read and check all job files; placeholders are for the sandbox, or where nothing is bought."""
        otherwise = Placeholders.REFUSED if buys else Placeholders.CHECKED
        placeholders = Placeholders.ALLOWED if self.sandbox else otherwise
        # These load every driver and the whole grammar, which `status` needs none of.
        from orchestrator.app.kinds import kinds
        from orchestrator.config.load import load

        found = load(self.find(), kinds(), self.env, placeholders=placeholders)
        return replace(found, settings=self._own(found.settings, found.root))

    def _own(self, settings: Settings, root: Path) -> Settings:
        return rehearsed(settings, root) if self.sandbox else settings

    @asynccontextmanager
    async def store(self, settings: Settings, *, patient: bool = False) -> AsyncIterator[Store]:
        """Open the store to change it: what is not there yet is made. `patient` waits for the database."""
        async with open_store(settings.address, settings.project, patient=patient) as store:
            yield store

    @contextmanager
    def reading(self, settings: Settings, *, offline: bool = False, here: bool = True) -> Iterator[Store]:
        """Open the store to read it: nothing is made. `offline` asks no database, as if there were none.

        `here` is for `at_once`; without it threads read, so that a signal is heard meanwhile.
        """
        with read_store(None if offline else settings.address, settings.project, here=here) as store:
            yield store

    async def until_recorded(self, settings: Settings) -> None:
        """Wait until there is a database to read."""
        if recorded(settings.address):
            return
        self.say("Nothing is recorded yet; waiting for: orchestrator apply")
        while not recorded(settings.address):  # noqa: ASYNC110 - another process makes it
            await anyio.sleep(FIRST_WAIT)

    def color_on(self, stream: TextIO) -> bool:
        """Say whether to colour what goes to `stream`."""
        return color_on(self.color, stream)

    @property
    def form(self) -> Form:
        """How to print an error."""
        return Form(output=self.output, color=self.color, sandbox=self.sandbox)

    @property
    def for_people(self) -> bool:
        """Say whether to print tables and sentences rather than documents."""
        return self.output in ("table", "wide")

    def say(self, text: str) -> None:
        """Tell a person something beside the data, on stderr."""
        if not self.quiet:
            self._fill(text, sys.stderr)

    def out(self, text: str) -> None:
        """Print data, as it is."""
        click.echo(redact(text), color=self.color_on(sys.stdout))

    def document(self, whole: Document | Mapping[str, Any]) -> None:
        """Print a document: on one line for `-o jsonl`."""
        value = as_json(whole)
        value = {"schema_version": SCHEMA_VERSION, **value} if "schema_version" not in value else value
        self.out(line(value) if self.output == "jsonl" else json.dumps(value, indent=2, ensure_ascii=False))

    def listed(self, whole: Document, parts: Iterable[T], name: Callable[[T], object]) -> bool:
        """Print a document, or a line for each of its parts, as `-o` asks; False where that is a table."""
        if self.output == "json":
            self.document(whole)
        elif self.output in ("jsonl", "name"):
            for one in parts:
                self.out(line(as_json(one)) if self.output == "jsonl" else str(name(one)))
        return not self.for_people

    def tell(self, text: str) -> None:
        """Print data that is sentences: on a terminal they are wrapped between words."""
        self._fill(text, sys.stdout)

    def rows(self, columns: Sequence[Column], rows: Iterable[Sequence[object]]) -> None:
        """Print data that is a table."""
        self.table(Table.of(columns, rows, wide=self.output == "wide"))

    def table(self, made: Table) -> None:
        """Print a table: fitted to a terminal, whole with `-o wide` and for a pipe."""
        made = self.typed(made)
        if self.output == "wide" or not sys.stdout.isatty():
            self.out(made.text())
            return
        from orchestrator.cli._screen import draw

        draw(made, sys.stdout, color=self.color_on(sys.stdout))

    def typed(self, made: Table) -> Table:
        """Name the commands in a table as they are to be typed here."""
        if not self.sandbox or self.tour:
            return made
        rows = [
            [typed(cell, sandbox=True) if isinstance(cell, str) else cell for cell in row]
            for row in made.rows
        ]
        return replace(made, rows=rows)

    def _fill(self, text: str, stream: TextIO) -> None:
        fill(redact(typed(text, sandbox=self.sandbox and not self.tour)), stream, color=self.color_on(stream))


def line(value: Mapping[str, Any]) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def app(function: F) -> F:
    """Give a command the common options, before or after its name, as its first argument."""

    @wraps(function)
    @click.pass_context
    def wrapper(context: click.Context, /, **given: Any) -> Any:
        before = context.find_root().obj or {}
        made = _merge(before, {key: given.pop(key) for key in NAMES})
        configure(made.verbose, quiet=made.quiet, color=made.color_on(sys.stderr))
        if made.output == "markdown" and context.command.name != "plan":
            raise click.UsageError("-o markdown is for plan alone", context)
        try:
            return function(made, **given)
        except click.UsageError as error:
            error.ctx = error.ctx or context  # by which it is told whose --help says more
            raise

    return common(wrapper)  # type: ignore[return-value]  # click changes what it is, not how it is called


def _merge(before: Mapping[str, Any], after: Mapping[str, Any]) -> App:
    merged = {key: after[key] or before.get(key) for key in NAMES}
    as_json = merged.pop("as_json")
    return App(
        files=tuple(merged["files"] or ()),
        directory=merged["directory"],
        sandbox=bool(merged["sandbox"]),
        hosts=tuple(merged["hosts"] or ()),
        with_hooks=bool(merged["with_hooks"]),
        output=merged["output"] or ("json" if as_json else "table"),
        quiet=bool(merged["quiet"]),
        verbose=merged["verbose"] or 0,
        color=merged["color"] or "auto",
    )


def at_once(work: Coroutine[Any, Any, T]) -> T:
    """Return what `work` does, which waits for nothing: it only reads the store of `App.reading`.

    It needs no event loop, which takes longer to start than most questions to answer.
    """
    try:
        work.send(None)
    except StopIteration as ended:
        found: T = ended.value
        return found
    work.close()
    raise RuntimeError("what only reads has waited")


def run(
    work: Callable[[], Coroutine[Any, Any, int | None]], *, told: Callable[[int], bool] = lambda _: False
) -> int:
    """Run an async command and return its exit code; a signal cancels it, a second one ends the process.

    `told` hears of the first signal, and says whether the command ends by itself now.
    """
    return anyio.run(_guarded, work, told)


async def _guarded(work: Callable[[], Coroutine[Any, Any, int | None]], told: Callable[[int], bool]) -> int:
    ended: list[int] = []

    async def heed(scope: anyio.CancelScope) -> None:
        with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as received:
            async for number in received:
                if ended:
                    os._exit(128 + number)
                ended.append(number)
                if not told(number):
                    scope.cancel()

    code: int | None = None
    async with anyio.create_task_group() as tasks:
        with anyio.CancelScope() as scope:
            tasks.start_soon(heed, scope)
            code = await work()
        tasks.cancel_scope.cancel()
    return 128 + ended[0] if scope.cancel_called else code or 0
