"""What wakes a loop, and the scheduler that does so by the clock."""

from datetime import UTC, datetime

import anyio
from apscheduler.executors.debug import DebugExecutor
from apscheduler.schedulers.asyncio import AsyncIOScheduler


class Wakeup:
    """Wakes one loop: on a hint, a commit or a tick, and never twice for the same news."""

    def __init__(self) -> None:
        self._event = anyio.Event()

    def wake(self) -> None:
        """Wake the loop, now or when it next waits."""
        self._event.set()

    async def wait(self) -> None:
        """Wait to be woken."""
        await self._event.wait()
        self._event = anyio.Event()


class Ticks:
    """The scheduler, which only wakes loops: it holds no state that a restart would miss."""

    def __init__(self) -> None:
        # A late tick still wakes its loop, and several late ones wake it once.
        defaults = {"misfire_grace_time": None, "coalesce": True, "max_instances": 1}
        # It runs at once on the event loop: in a thread, the end of the program would cut it off.
        executors = {"default": DebugExecutor()}
        self._scheduler = AsyncIOScheduler(executors=executors, job_defaults=defaults, timezone=UTC)

    def __enter__(self) -> "Ticks":
        self._scheduler.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._scheduler.shutdown(wait=False)

    def at(self, name: str, moment: datetime, wakeup: Wakeup) -> None:
        """Wake at `moment`, in place of what `name` had before."""
        self._scheduler.add_job(wakeup.wake, "date", run_date=moment, id=name, replace_existing=True)

    def again(self) -> None:
        """Wake everything: the clock that the scheduler goes by was set."""
        for job in self._scheduler.get_jobs():
            job.modify(next_run_time=datetime.now(UTC))

    def every(self, name: str, seconds: float, wakeup: Wakeup) -> None:
        """Wake every so often."""
        self._scheduler.add_job(wakeup.wake, "interval", seconds=seconds, id=name, replace_existing=True)
