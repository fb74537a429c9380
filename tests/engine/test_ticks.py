"""The scheduler, which rings bells and nothing else."""

import threading
from datetime import UTC, datetime

import anyio

from orchestrator.engine.ticks import Bell, Ticks


class Noted(Bell):
    """Notes in which thread it was rung."""

    def __init__(self) -> None:
        super().__init__()
        self.rung_in: list[threading.Thread] = []

    def ring(self) -> None:
        """Wake the loop, and note where."""
        self.rung_in.append(threading.current_thread())
        super().ring()


async def test_a_bell_is_rung_on_its_own_loop() -> None:
    bell = Noted()
    with Ticks() as ticks, anyio.fail_after(30):
        ticks.at("one", datetime.now(UTC), bell)
        await bell.wait()
    assert bell.rung_in == [threading.current_thread()]
