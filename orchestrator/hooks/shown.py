"""A hook whose deliveries are shown, not sent: under `--sandbox`."""

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import ClassVar

import structlog

from orchestrator.core.delivery import Delivery
from orchestrator.hooks.base import Hook, Preview

log: structlog.stdlib.BoundLogger = structlog.get_logger("orchestrator.hooks")


class Shown(Hook):
    """Replaces `hook`: passes what it would send to `show`, and counts it as delivered."""

    kind: ClassVar[str] = "shown"

    def __init__(self, hook: Hook, show: Callable[[str], None]) -> None:
        super().__init__(hook.options, hook.root, now=hook.now, env=hook.env)
        self._hook = hook
        self._show = show

    @property
    def origin(self) -> str:
        """Name the receiver that it would reach."""
        return self._hook.origin

    @property
    def deadline(self) -> timedelta:
        """How long its preview can take."""
        return self._hook.deadline

    async def preview(self, delivery: Delivery) -> Preview:
        """Show what would be sent."""
        return await self._hook.preview(delivery)

    async def send(self, delivery: Delivery) -> str:
        """Show it, without looking up an address or running a program."""
        preview = await self._hook.preview(delivery)
        body = preview.body.decode("utf-8", "replace")
        lines = (f"{delivery.hook} would get {delivery.event} (--with-hooks sends it):", *preview.head, body)
        self._show("\n  ".join(lines))
        return "shown, not sent: --with-hooks sends it"

    async def aclose(self) -> None:
        """Release the hook's resources."""
        await self._hook.aclose()


def instead_of(hooks: Mapping[str, Hook], show: Callable[[str], None]) -> Mapping[str, Hook]:
    """Replace every hook whose deliveries leave this machine by one that shows them."""
    return {name: hook if hook.local else Shown(hook, show) for name, hook in hooks.items()}


def log_shown(text: str) -> None:
    """Write a shown delivery to the log."""
    log.info("hook.shown", text=text)
