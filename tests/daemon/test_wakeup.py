"""The scheduler, which rings bells and nothing else."""

import threading
from datetime import UTC, datetime

import anyio

from orchestrator.daemon.wakeup import Ticks, Wakeup


class Noted(Wakeup):
    """Notes in which thread it was rung."""

    def __init__(self) -> None:
        super().__init__()
        self.rung_in: list[threading.Thread] = []

    def wake(self) -> None:
        """Wake the loop, and note where."""
        self.rung_in.append(threading.current_thread())
        super().wake()


async def test_a_bell_is_rung_on_its_own_loop() -> None:
    wakeup = Noted()
    with Ticks() as ticks, anyio.fail_after(30):
        ticks.at("one", datetime.now(UTC), wakeup)
        await wakeup.wait()
    assert wakeup.rung_in == [threading.current_thread()]
