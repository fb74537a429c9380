"""The interface of a hook."""

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import ClassVar, Final

from orchestrator.config.manifest import HookOptions
from orchestrator.core.delivery import Delivery

TROUBLED: Final = (429, 502, 503, 504)
"""Status codes that mean the receiver as a whole is in trouble, not this delivery."""


def utc_now() -> datetime:
    """Return the time in UTC, the default clock of hooks."""
    return datetime.now(UTC)


@dataclass(frozen=True, kw_only=True, slots=True)
class Preview:
    """What would be sent, for `hooks test --dry-run`: the head's lines and the exact bytes."""

    head: tuple[str, ...]
    body: bytes


class Hook(ABC):
    """One receiver; made anew when its table changes."""

    kind: ClassVar[str]
    Options: ClassVar[type[HookOptions]] = HookOptions

    def __init__(
        self,
        options: HookOptions,
        root: Path,
        *,
        now: Callable[[], datetime] = utc_now,
        env: Mapping[str, str] = os.environ,
    ) -> None:
        self.options = options
        self.root = root
        """The folder of the file that declares it, where relative paths and commands start."""
        self.now = now
        self.env = env
        """The environment in which its secrets are looked up."""

    @property
    @abstractmethod
    def origin(self) -> str:
        """Name the receiver that fails as one: scheme, host and port, or the command."""

    @property
    def local(self) -> bool:
        """Whether its deliveries stay on this machine."""
        return False

    @property
    def deadline(self) -> timedelta:
        """How long one `send` can take; leases last longer."""
        return timedelta(seconds=15)

    @abstractmethod
    async def send(self, delivery: Delivery) -> str | None:
        """Send it and return the answer's text to keep; raises `HookError`, `HookGone`."""

    async def preview(self, delivery: Delivery) -> Preview:
        """Return what `send` would send, without sending it."""
        return Preview(head=(), body=delivery.body)

    def problems(self) -> Mapping[str, str]:
        """Return what is wrong on this machine, by the table's keys; reads no secret and no network."""
        return {}

    async def check(self) -> None:  # noqa: B027 - optional: a kind may have nothing to check
        """Raise `HookError` or `SecretError` if it cannot work, such as when a secret is missing."""

    async def aclose(self) -> None:  # noqa: B027 - optional: a kind may hold nothing
        """Release its resources."""
