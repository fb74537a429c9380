"""The long-running daemon: one task for each account and hook, woken by ticks, hints and files."""

import os
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final

import anyio
import structlog
from anyio.abc import TaskGroup

from orchestrator.app.reconcile import automatic
from orchestrator.app.settled import End, all_ended
from orchestrator.config.manifest import Manifest
from orchestrator.daemon.files import JobFiles
from orchestrator.daemon.wakeup import Ticks, Wakeup
from orchestrator.errors import OrchestratorError, StoreError, StoreRemoved
from orchestrator.hooks.heartbeat import ping
from orchestrator.providers.registry import registry
from orchestrator.store.claim import BEAT
from orchestrator.store.hints import changes
from orchestrator.store.opening import outlast
from orchestrator.store.owner import alive
from orchestrator.store.trouble import Outage
from orchestrator.worker.engine import Engine
from orchestrator.worker.journal import forget_settled

log: structlog.stdlib.BoundLogger = structlog.get_logger("orchestrator.daemon")

RESCAN_SECONDS: Final = 60
PRUNE_SECONDS: Final = 3600
RECHECK_SECONDS: Final = 30
PING_SECONDS: Final = 30
SAFETY: Final = timedelta(seconds=30)
"""Every loop looks at its rows at least this often, whatever hints were lost."""
DRAIN_SECONDS: Final = 8.0
TROUBLE: Final = timedelta(seconds=2)
LEAST_WAIT: Final = timedelta(milliseconds=50)


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
    _wakeups: dict[str, Wakeup] = field(default_factory=dict)
    _loops: set[str] = field(default_factory=set)
    _pinged: datetime = field(default_factory=lambda: datetime.now(UTC))
    _outage: Outage = field(default_factory=Outage)
    _settled: Wakeup = field(default_factory=Wakeup)
    _reading: anyio.Lock = field(default_factory=anyio.Lock)
    """Held while the files are read again: they may ask for more."""
    _stop: anyio.Event = field(default_factory=anyio.Event)
    _rested: anyio.Event = field(default_factory=anyio.Event)
    _tasks: TaskGroup = field(init=False)
    _ticks: Ticks = field(init=False)

    def __post_init__(self) -> None:
        self.files = JobFiles(reload=self.reload)

    @property
    def trouble(self) -> str | None:
        """Why the job files as they are now are not in force."""
        return self.files.trouble

    async def run(self) -> None:
        """Work until the first signal, `stop`, or until settled; then finish what is under way."""
        store = self.engine.store
        self.engine.pulse = lambda account: self._well(f"account {account}")
        store.database.listeners.append(self._wake_all)
        store.leases.beating = True
        try:
            await outlast(self._begin, stop=self._stop)
            if not self._stop.is_set():
                with Ticks() as ticks:
                    async with anyio.create_task_group() as tasks:
                        self._start(tasks, ticks)
                        log.info("daemon.started", pid=os.getpid(), address=self.address)
                        await self._stop.wait()
                        await self._drain(tasks)
        finally:
            store.leases.beating = False
            store.database.listeners.remove(self._wake_all)
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
            await self._reconcile()

    def stop(self) -> None:
        """Begin nothing new, and end when what is under way is done."""
        self.engine.stop()
        self._stop.set()
        self._wake_all()

    def _start(self, tasks: TaskGroup, ticks: Ticks) -> None:
        self._tasks, self._ticks = tasks, ticks
        self._spawn_loops()
        ticks.every("prune", PRUNE_SECONDS, self._wakeup("prune"))
        ticks.every("unfit", RECHECK_SECONDS, self._wakeup("unfit"))
        for work in (self._beats, self._prune, self._recheck, self._listen):
            tasks.start_soon(self._keep, work)
        tasks.start_soon(self.engine.deliverer.check)
        if self.reconciles:
            self._pinged = datetime.now(UTC)
            self._well("beat")
            ticks.every("rescan", RESCAN_SECONDS, self._wakeup("files"))
            self._wakeup("files").wake()  # for what was saved since they were read
            for work in (self._ping, self._watch, self._reread):
                tasks.start_soon(self._keep, work)
        if self.until_settled:
            ticks.every("settled", 1, self._settled)
            tasks.start_soon(self._keep, self._until_settled)
        if self.serve is not None:
            tasks.start_soon(self.serve, self)

    async def _keep(self, work: Callable[[], Awaitable[None]]) -> None:
        """Run what has no end of its own, again where it broke: the loops go on meanwhile."""
        while True:
            try:
                await work()
            except StoreError as error:
                self._outage.begins(work.__name__.strip("_"), error)
                if self.until_settled and isinstance(error, StoreRemoved):
                    raise  # nothing will ever be settled in it
            except Exception:
                log.exception("task.broke", task=work.__name__.strip("_"))
            await anyio.sleep(TROUBLE.total_seconds())

    def _spawn_loops(self) -> None:
        for name in self.engine.manifest.accounts:
            self._spawn(f"account {name}", partial(self.engine.round, name))
        for name in self.engine.manifest.hooks:
            self._spawn(f"hook {name}", partial(self._deliver, name))

    def _spawn(self, name: str, work: Callable[[], Awaitable[timedelta | None]]) -> None:
        if name not in self._loops:
            self._loops.add(name)
            self.progress[name] = datetime.now(UTC)
            self._tasks.start_soon(self._loop, name, work)

    async def _loop(self, name: str, work: Callable[[], Awaitable[timedelta | None]]) -> None:
        """Go round whenever the wakeup rings; one loop's failure ends no other."""
        wakeup = self._wakeup(name)
        while not self._stop.is_set():
            await self._turn(name, work, wakeup)
        self._loops.discard(name)
        if not self._loops:
            self._rested.set()

    async def _turn(self, name: str, work: Callable[[], Awaitable[timedelta | None]], wakeup: Wakeup) -> None:
        wait: timedelta | None = TROUBLE
        try:
            wait = await work()
            self._well(name)
            self._outage.ends()
            self._wakeup("heartbeat").wake()
        except StoreError as error:
            self._outage.begins(name, error)
            self._wakeup("beat").wake()  # claims may wait to be given back
        except OrchestratorError as error:
            log.error("loop.failed", loop=name, error=error.message)
        except Exception:
            log.exception("loop.broke", loop=name)
        self._settled.wake()
        # A round that could not do what was due is not tried again at once.
        wait = SAFETY if wait is None else min(max(wait, LEAST_WAIT), SAFETY)
        self._ticks.at(name, datetime.now(UTC) + wait, wakeup)
        begun = anyio.current_time()
        await wakeup.wait()
        if name.startswith("account "):
            # Its rows have just been read; many commits on end are one piece of news.
            await anyio.sleep(max(0, begun + LEAST_WAIT.total_seconds() - anyio.current_time()))

    async def _deliver(self, name: str) -> timedelta | None:
        deliverer = self.engine.deliverer
        if name not in deliverer.hooks:
            return None  # it left the files
        await deliverer.drain(name, partial(self._well, f"hook {name}"))
        return await self.engine.deliverer.wait(name) if name in self.engine.deliverer.hooks else None

    def _well(self, loop: str) -> None:
        self.progress[loop] = datetime.now(UTC)

    async def _ping(self) -> None:
        """Tell an outside checker when every loop has gone round; one that stands still keeps us silent."""
        while True:
            await self._wakeup("heartbeat").wait()
            manifest = self.engine.manifest
            if manifest.settings.heartbeat is None:
                continue
            if all(self.progress[name] > self._pinged for name in self._loops | {"beat"}):
                self._pinged = datetime.now(UTC)
                await ping(manifest.settings.heartbeat, manifest.root, self.engine.env)
                await anyio.sleep(PING_SECONDS)

    async def _prune(self) -> None:
        """Forget what was delivered long ago, a batch at a time, now and every hour."""
        while True:
            while await self.engine.store.replay.prune():
                pass
            await self._wakeup("prune").wait()

    def _wakeup(self, name: str) -> Wakeup:
        return self._wakeups.setdefault(name, Wakeup())

    def _wake_all(self) -> None:
        for name in self._loops:
            self._wakeup(name).wake()
        self._settled.wake()

    async def _listen(self) -> None:
        async for _ in changes(self.engine.store.database, self.engine.store.project, self._stop):
            self._wake_all()

    async def _beats(self) -> None:
        while True:
            # Not by the scheduler, whose clock may be set: claims end where this is late.
            with anyio.move_on_after(BEAT.total_seconds()):
                await self._wakeup("beat").wait()
            await self._beat()
            self._outage.ends()

    async def _beat(self) -> None:
        if await self.engine.store.beat(self.address):
            self._pinged = datetime.now(UTC)
            self.progress.update(dict.fromkeys(self.progress, self._pinged))
            self._ticks.again()  # they go by the clock that was set
        self._well("beat")

    async def _watch(self) -> None:
        await self.files.watch(self.engine.manifest.files, self._wakeup("files").wake, self._stop)

    async def _reread(self) -> None:
        while True:
            self.progress["files"] = datetime.now(UTC)
            await self._wakeup("files").wait()
            try:
                async with self._reading:
                    found = await self.files.news(self.engine.manifest)
                    if found is not None:
                        await self.engine.replace(found)
                        self._tasks.start_soon(self.engine.deliverer.check)
                        self._spawn_loops()
                        await self._reconcile()
            except OrchestratorError as error:
                log.error("reconcile.failed", error=error.message, hint=error.hint)

    async def _recheck(self) -> None:
        """Look now and then whether a hook that could not work can: its secret may be there by now."""
        while True:
            await self._wakeup("unfit").wait()
            await self.engine.deliverer.check(unfit=True)

    async def _reconcile(self) -> None:
        engine = self.engine
        await automatic(engine.store, engine.manifest, registry(), engine.routing, apply_new=self.apply_new)
        self._wake_all()

    async def _until_settled(self) -> None:
        store = self.engine.store
        while not self._stop.is_set():
            await self._settled.wait()
            async with self._reading:
                self.ended = await all_ended(store)
                if self.ended and not await store.outbox.unsettled(tuple(self.engine.deliverer.hooks)):
                    self.stop()

    async def _drain(self, tasks: TaskGroup) -> None:
        """Let what is under way end, for a while; what is cut off is looked up at the next start."""
        if self._loops:
            with anyio.move_on_after(DRAIN_SECONDS) as limit:
                await self._rested.wait()
            if limit.cancelled_caught:
                log.warning("daemon.cut_off", loops=sorted(self._loops))
        tasks.cancel_scope.cancel()
