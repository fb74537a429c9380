"""The sandbox's own time: the machine's, or one that moves only when told."""

import time
from datetime import UTC, datetime


class Clock:
    """Tells seconds since 1970; `advance` moves it forward whichever kind it is."""

    def __init__(self, kind: str) -> None:
        self._manual = kind == "manual"
        self._start = time.time()
        self._offset = 0.0

    def now(self) -> float:
        """Tell the sandbox's present."""
        return (self._start if self._manual else time.time()) + self._offset

    def advance(self, seconds: float) -> None:
        """Move forward by `seconds`."""
        self._offset += seconds

    def resume(self, at: float) -> None:
        """Go on from `at`, the time an earlier process stopped at; a clock of a sandbox never runs back."""
        self._offset += max(0.0, at - self.now())


def stamp(at: float) -> str:
    """Write `at` as an ISO 8601 UTC time with microseconds and a Z."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
