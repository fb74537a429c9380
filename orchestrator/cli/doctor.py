"""`orchestrator doctor`."""

import sqlite3
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Final, Literal

import anyio
import click

from orchestrator.cli._app import App, app, hook_problems, run
from orchestrator.cli._text import count, document, line, plain, table
from orchestrator.config.manifest import Manifest
from orchestrator.engine.engine import Engine
from orchestrator.engine.reconcile import warnings
from orchestrator.errors import Denied, ManifestError, OrchestratorError
from orchestrator.hooks import Hook
from orchestrator.providers import registry
from orchestrator.store.database import SAFE_WAL
from orchestrator.store.store import Store

CHECK_SECONDS: Final = 40.0
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
    """Try everything that the job files name: database, credentials, providers, hooks.

    It buys and sends nothing. Each provider is asked for one page of its listing; each hook's secret or
    program is looked up.
    """

    async def work() -> int:
        manifest = app.manifest()
        problems = hook_problems(manifest)
        if problems:
            raise ManifestError(problems)
        async with app.store(manifest.settings) as store, app.engine(manifest, store) as engine:
            found = [*_files(manifest), await _database(store), await _daemon(store)]
            found += await _tried(engine)
        _print(app, found)
        return _code(found)

    return run(work)


def _files(manifest: Manifest) -> list[Finding]:
    names = ", ".join(path.name for path in manifest.files)
    jobs, accounts = count(len(manifest.jobs), "job"), count(len(manifest.accounts), "account")
    valid = Finding(what="files", name=names, detail=f"{jobs}, {accounts}")
    warned = [
        Finding(what="files", name=names, state="warning", detail=warning)
        for warning in warnings(manifest, registry(), manifest.accounts)
    ]
    return [valid, *warned]


async def _database(store: Store) -> Finding:
    database = store.database
    name = database.url.render_as_string(hide_password=True)
    for fault in await database.faults():
        return Finding(
            what="database", name=name, state="problem", detail=fault, hint="orchestrator db backup FILE"
        )
    detail = f"schema {await database.revision()}"
    if database.sqlite:
        slow = sqlite3.sqlite_version_info < SAFE_WAL
        detail += f", SQLite {sqlite3.sqlite_version}" + (" without WAL, which is not safe there" * slow)
    return Finding(what="database", name=name, detail=detail)


async def _daemon(store: Store) -> Finding:
    seen = await store.daemons.latest()
    if seen is not None and seen.fresh:
        return Finding(what="daemon", name=seen.host, detail=f"runs, pid {seen.pid}")
    return Finding(
        what="daemon", name="-", state="warning", detail="none runs: nobody polls", hint="orchestrator up"
    )


async def _tried(engine: Engine) -> list[Finding]:
    """Try all accounts and hooks beside each other, each within its time."""
    found: dict[tuple[str, str], Finding] = {}
    hooks = engine.deliverer.hooks
    async with anyio.create_task_group() as tasks:
        for name in engine.manifest.accounts:
            tasks.start_soon(_try, found, "account", name, partial(_account, engine, name))
        for name, hook in hooks.items():
            tasks.start_soon(_try, found, "hook", name, partial(_hook, hook))
    order = [("account", name) for name in engine.manifest.accounts] + [("hook", name) for name in hooks]
    return [found[key] for key in order]


async def _try(
    found: dict[tuple[str, str], Finding], what: str, name: str, work: Callable[[], Awaitable[str]]
) -> None:
    try:
        with anyio.fail_after(CHECK_SECONDS):
            found[what, name] = Finding(what=what, name=name, detail=await work())
    except TimeoutError:
        detail = f"nothing within {CHECK_SECONDS:g} s"
        found[what, name] = Finding(what=what, name=name, state="problem", detail=detail)
    except (OSError, ValueError, RuntimeError) as error:
        # A driver's or a hook's own fault: the others are told all the same.
        detail = f"it broke: {type(error).__name__}"
        found[what, name] = Finding(what=what, name=name, state="problem", detail=detail)
    except OrchestratorError as error:
        found[what, name] = Finding(
            what=what,
            name=name,
            state="problem",
            detail=error.message,
            hint=error.hint,
            credentials=isinstance(error, Denied),
        )


async def _account(engine: Engine, name: str) -> str:
    lane = await engine.lane(name)
    page = await lane.provider.list()
    return f"{lane.provider.title} answers, {count(len(page.items), 'fine-tune')} on the first page"


async def _hook(hook: Hook) -> str:
    await hook.check()
    return "ready; `orchestrator hooks test` sends it an example"


def _code(found: list[Finding]) -> int:
    problems = [one for one in found if one.state == "problem"]
    if not problems:
        return 0
    return EXIT_CREDENTIALS if all(one.credentials for one in problems) else 1


def _print(app: App, found: list[Finding]) -> None:
    documents = [{key: value for key, value in asdict(one).items() if key != "credentials"} for one in found]
    if app.output == "json":
        app.out(document({"schema_version": 1, "checks": documents}))
    elif app.output in ("jsonl", "name"):
        for one in documents:
            app.out(line(one) if app.output == "jsonl" else f"{one['what']} {one['name']}")
    else:
        rows = [(each.state, each.what, each.name, plain(each.detail)) for each in found]
        app.out(table(("state", "what", "name", "detail"), rows))
        for each in found:
            if each.hint:
                app.say(f"{each.what} {each.name}: {each.hint}")
