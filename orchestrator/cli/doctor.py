"""`orchestrator doctor`."""

import sqlite3
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Final, Literal

import anyio
import click

from orchestrator.app.reconcile import warnings
from orchestrator.cli._app import App, app, hook_problems, run
from orchestrator.cli._table import COLORS
from orchestrator.cli._text import count, document, line, plain
from orchestrator.config.manifest import Manifest
from orchestrator.errors import Denied, ManifestError, OrchestratorError
from orchestrator.hooks.base import Hook
from orchestrator.providers.registry import registry
from orchestrator.store.engines import SAFE_WAL
from orchestrator.store.store import Store
from orchestrator.worker.engine import Engine

CHECK_SECONDS: Final = 10.0
"""How long an account or a hook may take; the database has its own limit."""
EXIT_CREDENTIALS: Final = 4


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that was tried, and how it went."""

    what: str
    name: str
    state: Literal["ok", "warning", "problem"] = "ok"
    detail: str
    hint: str | None = None
    credentials: bool = False
    """A credential is missing or refused."""


@click.command("doctor")
@app
def command(app: App) -> int:
    """Check everything that the job files name: database, credentials, providers, hooks.

    It buys and sends nothing. Each provider is asked for one page of its listing; each hook's secret or
    program is looked up.
    """

    async def work() -> int:
        manifest = app.manifest()
        problems = hook_problems(manifest)
        if problems:
            raise ManifestError(problems)
        async with app.store(manifest.settings) as store, app.engine(manifest, store) as engine:
            names = (
                *manifest.accounts,
                *engine.deliverer.hooks,
                _files_name(manifest),
                _database_name(store),
            )
            report = Report(app, width=max(len(_label(app, name)) for name in names))
            for finding in _files(manifest):
                report.add(finding)
            await _try_all(engine, report)
        return report.end()

    return run(work)


class Report:
    """What was found, told as it comes; as one document only at the end."""

    def __init__(self, app: App, *, width: int) -> None:
        self._app, self._width = app, width
        self._found: list[Finding] = []

    def add(self, finding: Finding) -> None:
        """Tell of one thing that was tried."""
        self._found.append(finding)
        if self._app.output == "jsonl":
            self._app.out(line(_document(finding)))
        elif self._app.output == "name":
            self._app.out(f"{finding.what} {finding.name}")
        elif self._app.for_people:
            self._row(finding)

    def _row(self, finding: Finding) -> None:
        state = click.style(finding.state.ljust(7), fg=COLORS.get(finding.state))
        name = _label(self._app, finding.name)
        self._app.tell(f"{state}  {finding.what:8}  {name:{self._width}}  {plain(finding.detail)}".rstrip())
        if finding.hint:
            about = finding.what if finding.name == "-" else f"{finding.what} {name}"
            self._app.say(f"  {about}: {finding.hint}")

    def end(self) -> int:
        """Return the exit code."""
        if self._app.output == "json":
            checks = [_document(finding) for finding in self._found]
            self._app.out(document({"schema_version": 1, "checks": checks}))
        problems = [one for one in self._found if one.state == "problem"]
        if not problems:
            return 0
        return EXIT_CREDENTIALS if all(one.credentials for one in problems) else 1


def _label(app: App, name: str) -> str:
    """Shorten the name of a database that is a file below this folder."""
    return name.removeprefix(f"sqlite:///{app.cwd.resolve()}/")


def _document(finding: Finding) -> dict[str, object]:
    return {key: value for key, value in asdict(finding).items() if key != "credentials"}


def _files_name(manifest: Manifest) -> str:
    return ", ".join(path.name for path in manifest.files)


def _files(manifest: Manifest) -> list[Finding]:
    name = _files_name(manifest)
    jobs, accounts = count(len(manifest.jobs), "job"), count(len(manifest.accounts), "account")
    valid = Finding(what="files", name=name, detail=f"{jobs}, {accounts}")
    warned = [
        Finding(what="files", name=name, state="warning", detail=warning)
        for warning in warnings(manifest, registry(), manifest.accounts)
    ]
    return [valid, *warned]


async def _try_all(engine: Engine, report: Report) -> None:
    """Try everything at once, and tell of each as soon as it is known."""

    async def tell(trial: Callable[[], Awaitable[Finding]]) -> None:
        report.add(await trial())

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(tell, partial(_database, engine.store))
        tasks.start_soon(tell, partial(_daemon, engine.store))
        for name in engine.manifest.accounts:
            tasks.start_soon(tell, partial(_try, "account", name, partial(_account, engine, name)))
        for name, hook in engine.deliverer.hooks.items():
            tasks.start_soon(tell, partial(_try, "hook", name, partial(_hook, hook)))


def _database_name(store: Store) -> str:
    return store.database.name


async def _database(store: Store) -> Finding:
    database = store.database
    name = _database_name(store)
    for fault in await database.faults():
        return Finding(
            what="database", name=name, state="problem", detail=fault, hint="orchestrator db backup FILE"
        )
    detail = f"schema {await database.revision()}"
    if database.sqlite:
        slow = sqlite3.sqlite_version_info < SAFE_WAL
        detail += f", SQLite {sqlite3.sqlite_version}" + (
            " with the rollback journal (WAL needs 3.51.3 or later)" * slow
        )
    return Finding(what="database", name=name, detail=detail)


async def _daemon(store: Store) -> Finding:
    seen = await store.daemons.latest()
    if seen is not None and seen.fresh:
        return Finding(what="daemon", name=seen.host, detail=f"running, pid {seen.pid}")
    return Finding(
        what="daemon",
        name="-",
        state="warning",
        detail="not running, so nothing is polled",
        hint="orchestrator up",
    )


async def _try(what: str, name: str, work: Callable[[], Awaitable[str]]) -> Finding:
    problem = partial(Finding, what=what, name=name, state="problem")
    try:
        with anyio.fail_after(CHECK_SECONDS):
            return Finding(what=what, name=name, detail=await work())
    except TimeoutError:
        return problem(detail=f"no answer within {CHECK_SECONDS:g} s")
    except (OSError, ValueError, RuntimeError) as error:
        # A driver's or a hook's own fault: the others are told all the same.
        return problem(detail=f"it broke: {type(error).__name__}")
    except OrchestratorError as error:
        return problem(detail=error.message, hint=error.hint, credentials=isinstance(error, Denied))


async def _account(engine: Engine, name: str) -> str:
    worker = await engine.worker(name)
    page = await worker.provider.list()
    return f"{worker.provider.title} answers, {count(len(page.items), 'fine-tune')} on the first page"


async def _hook(hook: Hook) -> str:
    await hook.check()
    return "ready; `orchestrator hooks test` sends it an example"
