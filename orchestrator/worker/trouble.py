"""What a failed round means for its account: a back-off, a pause, an alarm once what is known is old."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

import structlog

from orchestrator.config.manifest import Manifest
from orchestrator.core.cadence import lag, lags
from orchestrator.core.schedule import asked_until, back_off
from orchestrator.errors import Denied, ProviderError
from orchestrator.store.commit import Routing
from orchestrator.store.due_work import DueWork
from orchestrator.store.store import Store
from orchestrator.worker.routing import routing

log: structlog.stdlib.BoundLogger = structlog.get_logger("orchestrator.worker")

DENIED_BACKOFF: Final = timedelta(seconds=30)
"""First wait of an account whose credentials are refused; it doubles up to ten minutes."""


@dataclass(kw_only=True)
class Trouble:
    """Records that accounts fail, and that they answer again."""

    store: Store
    jitter: Callable[[], float]
    """Gives a number from 0 to 1."""
    _lagging: set[str] = field(default_factory=set)

    async def begins(self, name: str, error: ProviderError, due_work: DueWork, manifest: Manifest) -> None:
        """Leave an account alone for a while; one whose credentials are refused is paused."""
        if isinstance(error, Denied):
            await self._pause(name, error, due_work.failures, routing(manifest))
        else:
            await self._fail(name, error, due_work.failures)
        await self._alarm(name, manifest.poll_interval(name))

    async def _pause(self, name: str, error: Denied, failures: int, told: Routing) -> None:
        now, wait = await self.store.now(), error.retry_after
        until = back_off(failures + 1, now, jitter=self.jitter(), retry_after=wait, least=DENIED_BACKOFF)
        if await self.store.accounts.pause(name, error.message, told, until=until):
            log.error("account.paused", account=name, error=error.message, hint=error.hint)

    async def _fail(self, name: str, error: ProviderError, failures: int) -> None:
        now, wait = await self.store.now(), error.retry_after
        until = back_off(failures + 1, now, jitter=self.jitter(), retry_after=wait)
        await self.store.accounts.fail(name, error.message, until=until, asked=asked_until(now, wait))
        log.warning("account.failed", account=name, error=error.message, failures=failures + 1)

    async def _alarm(self, name: str, usual: timedelta) -> None:
        """Log once that what is known of an account with open runs has become old."""
        account = next(one for one in await self.store.accounts.all() if one.name == name)
        interval = account.interval or usual
        late = lag(account.known_at, interval, now := await self.store.now())
        if account.open and lags(account.known_at, interval, now) and name not in self._lagging:
            self._lagging.add(name)
            seconds = round(late.total_seconds()) if late else None
            log.error("account.lags", account=name, poll_lag=seconds, error=account.last_error)

    def seen(self, name: str) -> None:
        """Take note of a complete look at an account."""
        self._lagging.discard(name)

    async def ends(self, name: str, due_work: DueWork, told: Routing, *, polled: bool) -> None:
        """Take note that an account answers, which failed or was paused when `due_work` was read."""
        if due_work.paused:
            await self.store.accounts.resume(name, told)
            log.info("account.resumed", account=name)
        elif due_work.failures and not polled:  # a complete look has recorded it already
            await self.store.accounts.recover(name, due_work.failures)
