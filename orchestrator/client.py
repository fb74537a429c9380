"""From Python: plan, apply, wait and follow, with the same files and the same database."""

import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import anyio
import structlog

from orchestrator.app.apply import apply
from orchestrator.app.kinds import kinds
from orchestrator.app.opening import open_engine
from orchestrator.app.plan import preview
from orchestrator.app.settled import End, ended, refusals
from orchestrator.app.status import known
from orchestrator.app.submit import submit
from orchestrator.config.find import find
from orchestrator.config.load import load
from orchestrator.config.placeholder import Placeholders
from orchestrator.config.settings import rehearsed
from orchestrator.core.event import Event
from orchestrator.core.plan import Plan
from orchestrator.core.run import Run
from orchestrator.errors import Denied, UsageError
from orchestrator.net.redaction import redact
from orchestrator.store.opening import daemon_runs, open_store
from orchestrator.store.owner import alive
from orchestrator.store.views import JobState
from orchestrator.worker.engine import Engine

LOOK_SECONDS = 0.5


class Orchestrator:
    """The jobs of some files; where no daemon runs, it does a daemon's work while it waits."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @classmethod
    @asynccontextmanager
    async def open(cls, *files: str | Path, sandbox: bool = False) -> AsyncIterator["Orchestrator"]:
        """Open `files`, or what the command line would find; raises `ManifestError` with every problem.

        With `sandbox` the emulated providers stand under every account, and a database of its own: nothing
        is bought, and no secret is read.
        """
        _log_quietly()
        found = find([str(file) for file in files], Path.cwd(), os.environ)
        placeholders = Placeholders.ALLOWED if sandbox else Placeholders.REFUSED
        manifest = load(found, kinds(), os.environ, placeholders=placeholders)
        if sandbox:
            manifest = replace(manifest, settings=rehearsed(manifest.settings, manifest.root))
        settings = manifest.settings
        async with (
            open_store(settings.address, settings.project) as store,
            open_engine(manifest, store, sandbox=_silent if sandbox else None) as engine,
        ):
            yield cls(engine)

    async def plan(self, *, again: bool = False) -> Plan:
        """Say what an apply would do; writes nothing and asks no provider."""
        return await preview(self._engine.store, self._engine.manifest, again=again)

    async def apply(self, plan: Plan, *, again: bool = False) -> Sequence[Run]:
        """Record `plan` and submit it; raises `UsageError` where runs have moved on since it was made.

        Returns the runs that it started. Where a daemon runs, that one submits them.
        """
        engine = self._engine
        recorded = await apply(engine, plan, again=again)
        await submit(engine, *engine.manifest.accounts)
        found = [await engine.store.work.by_id(run.id) for run in recorded.runs]
        return [run for run in found if run is not None]

    async def wait(self, job: str) -> Run:
        """Return a job's run once it is final or needs a person; safe to cancel and to call again.

        Raises `Denied` where only credentials that are missing or refused keep it, which are tried again
        first, and `UsageError` where nothing was bought of it yet, since a person must decide.
        """
        store = self._engine.store
        await store.accounts.reconsider()
        if not await daemon_runs(store):
            await store.leases.end(alive)
        while True:
            standing = await self._standing(job)
            match await ended(store, [standing]):
                case End.SUCCEEDED | End.FAILED if standing.run is not None:
                    return standing.run
                case End.SUCCEEDED | End.FAILED:
                    raise UsageError(f"{job} is held: {standing.record.held}")
                case End.DENIED:
                    account = standing.record.account
                    why = (await refusals(store)).get(account, "its credentials are refused")
                    raise Denied(f"{account}: {why}")
                case None:
                    pass
            if not await daemon_runs(store):
                await self._engine.round(standing.record.account)
                await self._tell()
            await anyio.sleep(LOOK_SECONDS)

    async def run(self, job: str) -> Run | None:
        """Return the run that a job stands by; raises `UsageError` for a job that is not recorded."""
        return (await self._standing(job)).run

    async def _standing(self, job: str) -> JobState:
        (standing,) = await known(self._engine.store, [job], self._engine.manifest.jobs)
        return standing

    async def events(self, *, after: int = 0) -> AsyncIterator[Event]:
        """Yield every event after the id `after`, then each new one as it comes; never ends."""
        while True:
            for event in await self._engine.store.views.events(after=after):
                after = event.id or after
                yield event
            await anyio.sleep(LOOK_SECONDS)

    async def _tell(self) -> None:
        deliverer = self._engine.deliverer
        for name in deliverer.hooks:
            await deliverer.drain(name)


def _silent(_: str) -> None:
    """Say nothing of where the sandbox is."""


def _log_quietly() -> None:
    """Have what we log go through `logging`, unless the program has set structlog up itself.

    A library prints nothing: without a handler of the program's own, warnings alone reach stderr.
    """
    if structlog.is_configured():
        return
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.processors.format_exc_info,
            structlog.processors.KeyValueRenderer(key_order=["event"]),
            lambda _logger, _name, text: redact(str(text)),
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )
