"""The rate limit of one account: a token bucket that a provider can push back."""

from collections.abc import Awaitable, Callable

import anyio

MOST_AT_ONCE = 5


class Limiter:
    """Allows `per_second` requests on average, and a small burst after a pause.

    Its only state is the time at which the bucket will be full; `clock` must be monotonic.
    """

    def __init__(
        self,
        per_second: float,
        *,
        clock: Callable[[], float] = anyio.current_time,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
    ) -> None:
        self._gap = 1 / per_second
        self._slack = self._gap * (min(max(int(per_second), 1), MOST_AT_ONCE) - 1)
        self._full = float("-inf")
        self._blocked = float("-inf")
        self._clock = clock
        self._sleep = sleep

    async def wait(self, longest: float) -> float:
        """Wait until a request may be sent and return 0, or return the seconds if they are over `longest`."""
        give_up = self._clock() + longest
        while True:
            now = self._clock()
            turn = max(self._full - self._slack, now)
            if turn > give_up:
                return turn - now
            self._full = max(self._full, now) + self._gap
            if turn > now:
                await self._sleep(turn - now)
            # If the provider throttled another request while this one waited, this one waits too.
            if self._blocked <= self._clock():
                return 0.0

    @property
    def blocked(self) -> float:
        """For how many more seconds the provider asked us to send nothing."""
        return max(self._blocked - self._clock(), 0.0)

    def push_back(self, seconds: float) -> None:
        """Send nothing for `seconds`, and allow no burst after them."""
        until = self._clock() + seconds
        self._blocked = max(self._blocked, until)
        self._full = max(self._full, until + self._slack)
