"""From Python: plan, apply, wait and follow, with the same files and the same database."""

import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import anyio

from orchestrator.config.find import find
from orchestrator.config.load import load
from orchestrator.core.event import Event
from orchestrator.core.plan import Plan
from orchestrator.core.run import Run
from orchestrator.engine.engine import Engine
from orchestrator.engine.opening import kinds, open_engine
from orchestrator.engine.reconcile import apply, preview
from orchestrator.errors import UsageError
from orchestrator.providers import registry
from orchestrator.store.opening import daemon_runs, open_store

LOOK_SECONDS = 0.5


class Orchestrator:
    """The jobs of some files; where no daemon runs, it does a daemon's work while it waits."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @classmethod
    @asynccontextmanager
    async def open(cls, *files: str | Path) -> AsyncIterator["Orchestrator"]:
        """Open `files`, or what the command line would find; raises `ManifestError` with every problem."""
        manifest = load(find([str(file) for file in files], Path.cwd(), os.environ), kinds(), os.environ)
        settings = manifest.settings
        async with (
            open_store(settings.address, settings.project) as store,
            open_engine(manifest, store, os.environ) as engine,
        ):
            yield cls(engine)

    async def plan(self, *, again: bool = False) -> Plan:
        """Say what an apply would do; writes nothing and asks no provider."""
        return await preview(self._engine.store, self._engine.manifest, registry(), again=again)

    async def apply(self, plan: Plan, *, again: bool = False) -> Sequence[Run]:
        """Record `plan` and submit it; raises `UsageError` where runs have moved on since it was made.

        Returns the runs that it started. Where a daemon runs, that one submits them.
        """
        engine = self._engine
        writes = await apply(engine.store, engine.manifest, registry(), plan, engine.routing, again=again)
        await engine.store.accounts.reconsider(*engine.manifest.accounts)
        if not await daemon_runs(engine.store):
            for name in engine.manifest.accounts:
                while await engine.send(name):
                    pass
        found = [await engine.store.work.by_id(run.id) for run in writes.runs]
        return [run for run in found if run is not None]

    async def wait(self, job: str) -> Run:
        """Return a job's run once it is final or needs a person; safe to cancel and to call again."""
        while True:
            run = await self.run(job)
            if run is not None and (run.status.final or run.stuck):
                return run
            if run is not None and not await daemon_runs(self._engine.store):
                await self._engine.round(run.account)
                await self._tell()
            await anyio.sleep(LOOK_SECONDS)

    async def run(self, job: str) -> Run | None:
        """Return the run that a job stands by; raises `UsageError` for a job that is not recorded."""
        standings = await self._engine.store.views.standings([job])
        if not standings:
            raise UsageError(f"no job {job} is recorded", hint="apply records new ones")
        return standings[0].run

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
