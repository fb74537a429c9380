"""Bells that wake loops, and the scheduler that rings them."""

from datetime import UTC, datetime

import anyio
from apscheduler.executors.debug import DebugExecutor
from apscheduler.schedulers.asyncio import AsyncIOScheduler


class Wakeup:
    """Wakes one loop: rung by a hint, a commit or a tick, and never twice for the same news."""

    def __init__(self) -> None:
        self._event = anyio.Event()

    def wake(self) -> None:
        """Wake the loop, now or when it next waits."""
        self._event.set()

    async def wait(self) -> None:
        """Wait to be rung."""
        await self._event.wait()
        self._event = anyio.Event()


class Ticks:
    """The scheduler, which only rings bells: it holds no state that a restart would miss."""

    def __init__(self) -> None:
        # A tick that is late still rings, and many late ones ring once.
        defaults = {"misfire_grace_time": None, "coalesce": True, "max_instances": 1}
        # A wakeup rings at once and on its own loop: in a thread, an end would cut it off with a traceback.
        executors = {"default": DebugExecutor()}
        self._scheduler = AsyncIOScheduler(executors=executors, job_defaults=defaults, timezone=UTC)

    def __enter__(self) -> "Ticks":
        self._scheduler.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._scheduler.shutdown(wait=False)

    def at(self, name: str, moment: datetime, wakeup: Wakeup) -> None:
        """Ring `wakeup` at `moment`, in place of what `name` had before."""
        self._scheduler.add_job(wakeup.wake, "date", run_date=moment, id=name, replace_existing=True)

    def again(self) -> None:
        """Ring all bells: the clock was set, by which the scheduler goes."""
        for job in self._scheduler.get_jobs():
            job.modify(next_run_time=datetime.now(UTC))

    def every(self, name: str, seconds: float, wakeup: Wakeup) -> None:
        """Ring `wakeup` every so often."""
        self._scheduler.add_job(wakeup.wake, "interval", seconds=seconds, id=name, replace_existing=True)
