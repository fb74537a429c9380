"""Trying everything that the job files name: database, daemon, credentials, providers, hooks."""

import sqlite3
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Final, Literal

import anyio

from orchestrator.app.documents import Document, Whole
from orchestrator.app.plan import warnings
from orchestrator.config.manifest import Manifest
from orchestrator.errors import Denied, OrchestratorError
from orchestrator.hooks.base import Hook
from orchestrator.store.engines import SAFE_WAL
from orchestrator.store.store import Store
from orchestrator.worker.engine import Engine

CHECK_SECONDS: Final = 10.0
"""How long an account or a hook may take; the database has its own limit."""


@dataclass(frozen=True, kw_only=True)
class Finding(Document):
    """One thing that was tried, and how it went."""

    what: str
    name: str
    state: Literal["ok", "warning", "problem"] = "ok"
    detail: str
    hint: str | None = None


@dataclass(frozen=True, kw_only=True)
class DoctorDocument(Whole):
    """Everything that was tried."""

    checks: tuple[Finding, ...]


@dataclass(frozen=True, kw_only=True)
class Refused(Finding):
    """A credential that is missing or refused."""

    state: Literal["ok", "warning", "problem"] = "problem"


Tell = Callable[[Finding], None]


def names(engine: Engine) -> tuple[str, ...]:
    """Return the names of everything that is tried."""
    manifest = engine.manifest
    fixed = _files_name(manifest), engine.store.database.name
    return (*manifest.accounts, *engine.deliverer.hooks, *fixed)


async def examine(engine: Engine, tell: Tell) -> None:
    """Try everything at once, and tell of each as soon as it is known; buys and sends nothing."""
    for finding in _files(engine.manifest):
        tell(finding)

    async def run(trial: Callable[[], Awaitable[Finding]]) -> None:
        tell(await trial())

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run, partial(_database, engine.store))
        tasks.start_soon(run, partial(_daemon, engine.store))
        for name in engine.manifest.accounts:
            tasks.start_soon(run, partial(_try, "account", name, partial(_account, engine, name)))
        for name, hook in engine.deliverer.hooks.items():
            tasks.start_soon(run, partial(_try, "hook", name, partial(_hook, hook)))


def _files_name(manifest: Manifest) -> str:
    return ", ".join(path.name for path in manifest.files)


def _files(manifest: Manifest) -> list[Finding]:
    name, jobs, accounts = _files_name(manifest), len(manifest.jobs), len(manifest.accounts)
    detail = f"{jobs} job{'s' * (jobs != 1)}, {accounts} account{'s' * (accounts != 1)}"
    warned = [
        Finding(what="files", name=name, state="warning", detail=warning)
        for warning in warnings(manifest, manifest.accounts)
    ]
    return [Finding(what="files", name=name, detail=detail), *warned]


async def _database(store: Store) -> Finding:
    database = store.database
    for fault in await database.faults():
        hint = "orchestrator db backup FILE"
        return Finding(what="database", name=database.name, state="problem", detail=fault, hint=hint)
    detail = f"schema {await database.revision()}"
    if database.sqlite:
        slow = sqlite3.sqlite_version_info < SAFE_WAL
        detail += f", SQLite {sqlite3.sqlite_version}" + (
            " with the rollback journal (WAL needs 3.51.3 or later)" * slow
        )
    return Finding(what="database", name=database.name, detail=detail)


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
    except Denied as error:
        return Refused(what=what, name=name, detail=error.message, hint=error.hint)
    except OrchestratorError as error:
        return problem(detail=error.message, hint=error.hint)


async def _account(engine: Engine, name: str) -> str:
    worker = await engine.worker(name)
    found = len((await worker.provider.list()).items)
    return f"{worker.provider.title} answers, {found} fine-tune{'s' * (found != 1)} on the first page"


async def _hook(hook: Hook) -> str:
    await hook.check()
    return "ready; `orchestrator hooks test` sends it an example"
