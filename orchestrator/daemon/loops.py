"""The loops of a daemon: each goes round when it is woken, and the failure of one ends no other."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final

import anyio
import structlog
from anyio.abc import TaskGroup

from orchestrator.daemon.wakeup import Ticks, Wakeup
from orchestrator.errors import OrchestratorError, StoreError, StoreRemoved
from orchestrator.store.trouble import Outage

log: structlog.stdlib.BoundLogger = structlog.get_logger("orchestrator.daemon")

SAFETY: Final = timedelta(seconds=30)
"""Every loop looks at its rows at least this often, whatever hints were lost."""
TROUBLE: Final = timedelta(seconds=2)
LEAST_WAIT: Final = timedelta(milliseconds=50)

Work = Callable[[], Awaitable[timedelta | None]]
"""Goes one round and returns how long it is until there is more to do; None: nobody knows."""


@dataclass(kw_only=True)
class Loops:
    """Runs loops, and knows when each last went round."""

    progress: dict[str, datetime]
    """When each loop last went round without a failure, or began."""
    outage: Outage = field(default_factory=Outage)
    names: set[str] = field(default_factory=set)
    """The loops that have not ended."""
    ended: anyio.Event = field(default_factory=anyio.Event)
    """Set when the last loop has ended."""
    _wakeups: dict[str, Wakeup] = field(default_factory=dict)
    _stop: anyio.Event = field(default_factory=anyio.Event)
    _tasks: TaskGroup = field(init=False)
    _ticks: Ticks = field(init=False)

    def start(self, tasks: TaskGroup, ticks: Ticks) -> None:
        """Say where loops are run, and who wakes them by the clock."""
        self._tasks, self._ticks = tasks, ticks

    def stop(self) -> None:
        """Let every loop end when it has gone round."""
        self._stop.set()
        self.wake_all()

    def wakeup(self, name: str) -> Wakeup:
        """Return what wakes the loop or task of this name."""
        return self._wakeups.setdefault(name, Wakeup())

    def wake_all(self) -> None:
        """Wake every loop, and whoever waits for all of them."""
        for name in (*self.names, "settled"):
            self.wakeup(name).wake()

    def well(self, name: str) -> None:
        """Take note that a loop makes progress."""
        self.progress[name] = datetime.now(UTC)

    def again(self) -> None:
        """Count all progress from now on, since a clock was set."""
        self.progress.update(dict.fromkeys(self.progress, datetime.now(UTC)))
        self._ticks.again()  # they go by that clock

    def every(self, name: str, seconds: float) -> None:
        """Wake `name` every so often."""
        self._ticks.every(name, seconds, self.wakeup(name))

    def spawn(self, name: str, work: Work) -> None:
        """Run a loop, unless there is one of this name."""
        if name not in self.names:
            self.names.add(name)
            self.well(name)
            self._tasks.start_soon(self._loop, name, work)

    async def _loop(self, name: str, work: Work) -> None:
        while not self._stop.is_set():
            wait = await self._round(name, work)
            self.wakeup("settled").wake()
            await self._rest(name, wait)
        self.names.discard(name)
        if not self.names:
            self.ended.set()

    async def _round(self, name: str, work: Work) -> timedelta:
        try:
            wait = await work()
            self.well(name)
            self.outage.ends()
            self.wakeup("heartbeat").wake()
        except StoreError as error:
            self.outage.begins(name, error)
            self.wakeup("beat").wake()  # claims may wait to be given back
            return TROUBLE
        except OrchestratorError as error:
            log.error("loop.failed", loop=name, error=error.message)
            return TROUBLE
        except Exception:
            log.exception("loop.broke", loop=name)
            return TROUBLE
        # A round that could not do what was due is not repeated at once.
        return SAFETY if wait is None else min(max(wait, LEAST_WAIT), SAFETY)

    async def _rest(self, name: str, wait: timedelta) -> None:
        """Wait to be woken, `wait` at most."""
        wakeup = self.wakeup(name)
        self._ticks.at(name, datetime.now(UTC) + wait, wakeup)
        begun = anyio.current_time()
        await wakeup.wait()
        if name.startswith("account "):
            # Its rows have just been read; many commits in a row are one piece of news.
            await anyio.sleep(max(0, begun + LEAST_WAIT.total_seconds() - anyio.current_time()))

    def keep(self, name: str, work: Callable[[], Awaitable[None]], *, ends_with_store: bool = False) -> None:
        """Run a task that has no end of its own, and again where it failed.

        With `ends_with_store` the removal of the database ends the daemon.
        """
        self._tasks.start_soon(partial(self._keep, name, work, ends_with_store=ends_with_store))

    async def _keep(self, name: str, work: Callable[[], Awaitable[None]], *, ends_with_store: bool) -> None:
        while True:
            try:
                await work()
            except StoreError as error:
                self.outage.begins(name, error)
                if ends_with_store and isinstance(error, StoreRemoved):
                    raise
            except Exception:
                log.exception("task.broke", task=name)
            await anyio.sleep(TROUBLE.total_seconds())
