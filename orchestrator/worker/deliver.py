"""The hooks of the job files: declared, checked, replaced, and each drained by a pump of its own."""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta

import anyio
import structlog

from orchestrator.core.delivery import Finished
from orchestrator.errors import HookError, SecretError, StoreError
from orchestrator.hooks.base import Hook
from orchestrator.store.hooks import Declared
from orchestrator.store.store import Store
from orchestrator.worker.pump import Pump, digest_of, origin_of

log: structlog.stdlib.BoundLogger = structlog.get_logger("orchestrator.hooks")

CHECK_SECONDS = 20.0


@dataclass(kw_only=True)
class Deliverer:
    """Sends what the outbox holds for the hooks of the files."""

    store: Store
    hooks: Mapping[str, Hook]
    jitter: Callable[[], float] = random.random
    stopping: Callable[[], bool] = lambda: False
    """Says whether to begin nothing new."""
    _pumps: list[Pump] = field(default_factory=list)
    """Those at work."""
    _unused: list[Hook] = field(default_factory=list)
    """Hooks that were replaced, to be closed once no pump sends by them."""
    _owed: dict[str, list[Finished]] = field(default_factory=dict)
    """Deliveries that have ended and are not settled yet, by hook; they outlive a database that is away."""
    _unfit: set[str] = field(default_factory=set)
    """The hooks that could not work when they were last checked."""
    _closed: bool = False

    def replace(self, hooks: Mapping[str, Hook]) -> None:
        """Go on with other hooks, at once; what is in flight ends with the hook that it began with."""
        kept = {
            name: old
            for name, old in self.hooks.items()
            if name in hooks and digest_of(old) == digest_of(hooks[name])
        }
        self._unused += [old for name, old in self.hooks.items() if name not in kept]
        self.hooks = {**hooks, **kept}

    async def close_unused(self) -> None:
        """Give back what replaced hooks hold, as far as nothing is sent by them any more."""
        used = [pump.hook for pump in self._pumps]
        idle = [hook for hook in self._unused if hook not in used]
        self._unused = [hook for hook in self._unused if hook in used]
        for hook in idle:
            await hook.aclose()

    async def declare(self, hooks: Mapping[str, Hook] | None = None) -> None:
        """Store these hooks, or its own; one whose table changed is switched on, and gets what waits."""
        declared = self.hooks if hooks is None else hooks
        tables = {
            name: Declared(digest=digest_of(hook), origin=origin_of(hook)) for name, hook in declared.items()
        }
        for name in await self.store.hooks.declare(tables):
            log.info("hook.changed", hook=name)

    async def check(self, *, unfit: bool = False) -> None:
        """Find out which hooks cannot work here: a secret that is missing or malformed, a lost program.

        With `unfit` only those are checked again that could not work.
        """
        async with anyio.create_task_group() as tasks:
            for name, hook in self.hooks.items():
                if name in self._unfit or not unfit:
                    tasks.start_soon(self._check, name, hook)

    async def _check(self, name: str, hook: Hook) -> None:
        error: HookError | SecretError | None = None
        with anyio.move_on_after(CHECK_SECONDS):
            try:
                await hook.check()
            except (HookError, SecretError) as found:
                error = found
            except Exception as found:
                log.exception("hook.broken", hook=name)
                error = HookError(f"the hook broke: {type(found).__name__}")
        try:
            news = await self.store.hooks.unfit(name, error.message if error else None)
        except StoreError as trouble:
            log.error("store.failed", loop="check", error=trouble.message, hint=trouble.hint)
            return
        if error is None:
            self._unfit.discard(name)
            if news:
                log.info("hook.fit", hook=name)
        elif news or name not in self._unfit:
            self._unfit.add(name)
            log.error("hook.unfit", hook=name, error=error.message, hint=error.hint)

    async def drain(self, name: str, tick: Callable[[], None] = lambda: None) -> int:
        """Send everything that is due for one hook, and return how many attempts were made.

        `tick` is called now and then, while a receiver takes its time.
        """
        hook = self.hooks[name]
        pump = Pump(
            store=self.store,
            name=name,
            hook=hook,
            owed=self._owed.setdefault(name, []),
            jitter=self.jitter,
            resting=lambda: self._closed or self.stopping() or self.hooks.get(name) is not hook,
            tick=tick,
        )
        self._pumps.append(pump)
        try:
            async with self.store.leases.kept():
                return await pump.run()
        finally:
            self._pumps.remove(pump)
            with anyio.CancelScope(shield=True):
                await self.close_unused()

    async def wait(self, name: str) -> timedelta | None:
        """Return how long it is until there is something to send to one hook."""
        return await self.store.outbox.wait(name, origin_of(self.hooks[name]))

    async def close(self) -> None:
        """Begin nothing more, and give back what the hooks hold."""
        self._closed = True
        for hook in (*self.hooks.values(), *self._unused):
            await hook.aclose()
