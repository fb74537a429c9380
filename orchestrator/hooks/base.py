"""What a hook is to the rest of the program."""

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
"""Answers that speak for the receiver as a whole, not for what it was sent."""


def utc_now() -> datetime:
    """Return the aware UTC time; every hook takes another clock in its place."""
    return datetime.now(UTC)


@dataclass(frozen=True, kw_only=True, slots=True)
class Preview:
    """What would be sent, for `hooks test --dry-run`: lines of a head, and the exact bytes."""

    head: tuple[str, ...]
    body: bytes


class Hook(ABC):
    """One receiver; made new for every change of its table."""

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
        """The folder of the file that declares it: where relative paths and commands start."""
        self.now = now
        self.env = env
        """Where its secrets are looked up."""

    @property
    @abstractmethod
    def origin(self) -> str:
        """Name what fails together: scheme, host and port, or the command."""

    @property
    def local(self) -> bool:
        """Whether what it sends stays on this machine's loopback."""
        return False

    @property
    def deadline(self) -> timedelta:
        """The longest that one `send` takes; a lease outlasts it."""
        return timedelta(seconds=15)

    @abstractmethod
    async def send(self, delivery: Delivery) -> str | None:
        """Send it and return what is worth keeping of the answer; raises `HookError`, `HookGone`."""

    async def preview(self, delivery: Delivery) -> Preview:
        """Return what `send` would send; it sends nothing."""
        return Preview(head=(), body=delivery.body)

    def problems(self) -> Mapping[str, str]:
        """Return what is wrong on this machine, by the key of its table; reads no secret and no network."""
        return {}

    async def check(self) -> None:  # noqa: B027 - optional: a kind may have nothing to check
        """Raise `HookError` or `SecretError` where it cannot work: a secret that is missing or malformed."""

    async def aclose(self) -> None:  # noqa: B027 - optional: a kind may hold nothing
        """Give back what it holds."""
