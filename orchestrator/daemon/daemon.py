"""The long-running daemon: one loop for each account and hook, and the few tasks that serve them all."""

import os
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final

import anyio
import structlog
from anyio.abc import TaskGroup

from orchestrator.app.apply import automatic
from orchestrator.app.settled import End, all_ended
from orchestrator.config.manifest import Manifest
from orchestrator.daemon.files import JobFiles
from orchestrator.daemon.loops import Loops
from orchestrator.daemon.wakeup import Ticks
from orchestrator.errors import OrchestratorError, StoreError
from orchestrator.hooks.heartbeat import ping
from orchestrator.store.claim import BEAT
from orchestrator.store.commit import Routing
from orchestrator.store.hints import changes
from orchestrator.store.opening import outlast
from orchestrator.store.owner import alive
from orchestrator.worker.engine import Engine
from orchestrator.worker.journal import forget_settled

log: structlog.stdlib.BoundLogger = structlog.get_logger("orchestrator.daemon")

RESCAN_SECONDS: Final = 60
PRUNE_SECONDS: Final = 3600
RECHECK_SECONDS: Final = 30
PING_SECONDS: Final = 30
DRAIN_SECONDS: Final = 8.0


@dataclass(kw_only=True)
class Daemon:
    """Runs an engine until it is told to stop, or, with `until_settled`, until nothing is left to do.

    `reload` reads the job files again. `serve` runs the web server, where one is wanted.
    """

    engine: Engine
    reload: Callable[[], Manifest]
    apply_new: bool = True
    reconciles: bool = True
    until_settled: bool = False
    serve: Callable[["Daemon"], Coroutine[Any, Any, None]] | None = None
    address: str | None = None
    ended: End | None = None
    """With `until_settled`: how all of it ended."""
    progress: dict[str, datetime] = field(default_factory=dict)
    """When each loop last went round without a failure, or began."""
    files: JobFiles = field(init=False)
    _loops: Loops = field(init=False)
    _in_force: bool = True
    """Whether the files that the engine has were reconciled since they were taken."""
    _reading: anyio.Lock = field(default_factory=anyio.Lock)
    """Held while the files are read again: they may ask for more."""
    _pinged: datetime = field(default_factory=lambda: datetime.now(UTC))
    _stop: anyio.Event = field(default_factory=anyio.Event)

    def __post_init__(self) -> None:
        self.files = JobFiles(reload=self.reload)
        self._loops = Loops(progress=self.progress)

    @property
    def trouble(self) -> str | None:
        """Why the job files as they are now are not in force."""
        return self.files.trouble

    async def run(self) -> None:
        """Work until the first signal, `stop`, or until settled; then finish what is under way."""
        store = self.engine.store
        self.engine.pulse = lambda account: self._loops.well(f"account {account}")
        store.database.listeners.append(self._loops.wake_all)
        store.leases.beating = True
        try:
            await outlast(self._begin, stop=self._stop)
            if not self._stop.is_set():
                with Ticks() as ticks:
                    async with anyio.create_task_group() as tasks:
                        self._loops.start(tasks, ticks)
                        self._start(tasks)
                        log.info("daemon.started", pid=os.getpid(), address=self.address)
                        await self._stop.wait()
                        await self._drain(tasks)
        finally:
            store.leases.beating = False
            store.database.listeners.remove(self._loops.wake_all)
            with anyio.CancelScope(shield=True), suppress(StoreError):
                await store.daemons.leave()  # without it others find out by themselves, a little later

    async def _begin(self) -> None:
        """Write what must be written before anything else."""
        store = self.engine.store
        await store.leases.end(alive)
        await self.engine.prepare()
        await forget_settled(self.engine.journal, store.work)
        await self._beat()
        if self.reconciles:
            await self._reconcile(self.engine.manifest, self.engine.routing)

    def stop(self) -> None:
        """Begin nothing new, and end when what is under way is done."""
        self.engine.stop()
        self._stop.set()
        self._loops.stop()

    def _start(self, tasks: TaskGroup) -> None:
        self._spawn_loops()
        self._loops.every("prune", PRUNE_SECONDS)
        self._loops.every("unfit", RECHECK_SECONDS)
        self._loops.keep("beats", self._beats)
        self._loops.keep("prune", self._prune)
        self._loops.keep("recheck", self._recheck)
        self._loops.keep("listen", self._listen)
        tasks.start_soon(self.engine.deliverer.check)
        if self.reconciles:
            self._pinged = datetime.now(UTC)
            self._loops.well("beat")
            self._loops.every("files", RESCAN_SECONDS)
            self._loops.keep("ping", self._ping)
            self._loops.keep("watch", self._watch)
            self._loops.keep("reread", partial(self._reread, tasks))
        if self.until_settled:
            self._loops.every("settled", 1)
            self._loops.keep("until_settled", self._until_settled, ends_with_store=True)
        if self.serve is not None:
            tasks.start_soon(self.serve, self)

    def _spawn_loops(self) -> None:
        for name in self.engine.manifest.accounts:
            self._loops.spawn(f"account {name}", partial(self.engine.round, name))
        for name in self.engine.manifest.hooks:
            self._loops.spawn(f"hook {name}", partial(self._deliver, name))

    async def _deliver(self, name: str) -> timedelta | None:
        deliverer = self.engine.deliverer
        if name not in deliverer.hooks:
            return None  # it left the files
        await deliverer.drain(name, partial(self._loops.well, f"hook {name}"))
        return await deliverer.wait(name) if name in deliverer.hooks else None

    async def _ping(self) -> None:
        """Tell an outside checker when every loop has gone round; one that stands still keeps us silent."""
        while True:
            await self._loops.wakeup("heartbeat").wait()
            manifest = self.engine.manifest
            if manifest.settings.heartbeat is None:
                continue
            if all(self.progress[name] > self._pinged for name in self._loops.names | {"beat"}):
                self._pinged = datetime.now(UTC)
                await ping(manifest.settings.heartbeat, manifest.root, self.engine.env)
                await anyio.sleep(PING_SECONDS)

    async def _prune(self) -> None:
        """Forget what is long over, a batch at a time, now and every hour."""
        while True:
            while await self.engine.store.retention.prune(self.engine.manifest.settings.keep):
                pass
            await self._loops.wakeup("prune").wait()

    async def _listen(self) -> None:
        async for _ in changes(self.engine.store.database, self.engine.store.project, self._stop):
            self._loops.wake_all()

    async def _beats(self) -> None:
        while True:
            # Not by the scheduler, whose clock may be set: claims end where this is late.
            with anyio.move_on_after(BEAT.total_seconds()):
                await self._loops.wakeup("beat").wait()
            await self._beat()
            self._loops.outage.ends()

    async def _beat(self) -> None:
        if await self.engine.store.beat(self.address):
            self._pinged = datetime.now(UTC)
            self._loops.again()
        self._loops.well("beat")

    async def _watch(self) -> None:
        await self.files.watch(self.engine.manifest.files, self._loops.wakeup("files").wake, self._stop)

    async def _reread(self, tasks: TaskGroup) -> None:
        """Take the files as they are now, and again whenever they may have changed, or could not be taken."""
        while True:
            self._loops.well("files")
            try:
                async with self._reading:
                    found = await self.files.news(self.engine.manifest)
                    if found is not None or not self._in_force:
                        await self._take(found or self.engine.manifest, tasks)
            except StoreError:
                raise  # it is tried again soon
            except OrchestratorError as error:
                log.error("reconcile.failed", error=error.message, hint=error.hint)
            await self._loops.wakeup("files").wait()

    async def _take(self, manifest: Manifest, tasks: TaskGroup) -> None:
        self._in_force, before = False, self.engine.manifest
        await self.engine.replace(manifest, self._reconcile)
        self._in_force = True
        self.files.taken(manifest, before)
        tasks.start_soon(self.engine.deliverer.check)
        self._spawn_loops()
        self._loops.wake_all()

    async def _recheck(self) -> None:
        """Check now and then whether a hook that could not work can: its secret may be there by now."""
        while True:
            await self._loops.wakeup("unfit").wait()
            await self.engine.deliverer.check(unfit=True)

    async def _reconcile(self, manifest: Manifest, routing: Routing) -> None:
        await automatic(self.engine.store, manifest, routing, apply_new=self.apply_new)

    async def _until_settled(self) -> None:
        store = self.engine.store
        while not self._stop.is_set():
            await self._loops.wakeup("settled").wait()
            async with self._reading:
                self.ended = await all_ended(store) if self._in_force else None
                if self.ended and not await store.outbox.unsettled(tuple(self.engine.deliverer.hooks)):
                    self.stop()

    async def _drain(self, tasks: TaskGroup) -> None:
        """Let what is under way end, for a while; what is cut off is looked up at the next start."""
        if self._loops.names:
            with anyio.move_on_after(DRAIN_SECONDS) as limit:
                await self._loops.ended.wait()
            if limit.cancelled_caught:
                log.warning("daemon.cut_off", loops=sorted(self._loops.names))
        tasks.cancel_scope.cancel()
