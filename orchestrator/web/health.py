"""The daemon's health, and which of its loops make no progress."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal, Protocol

from orchestrator.app.documents import Document
from orchestrator.hooks.base import Hook

LATE: Final = timedelta(minutes=2)
"""Every loop goes round twice in this time at least, whether or not there is anything to do."""


@dataclass(frozen=True, kw_only=True)
class HealthDocument(Document):
    """The process answers."""

    status: Literal["ok"]


@dataclass(frozen=True, kw_only=True)
class ReadyDocument(Document):
    """Whether the daemon makes progress."""

    ready: bool
    late: tuple[str, ...]
    """The loops that have made no progress for too long."""
    stopping: bool
    """It is stopping: it finishes what is under way and starts nothing."""
    trouble: str | None
    """Why the current job files are not in force."""


class Health(Protocol):
    """What a daemon reports of its health."""

    @property
    def progress(self) -> Mapping[str, datetime]:
        """When each loop last completed a round without a failure, or began."""

    @property
    def trouble(self) -> str | None:
        """Why the job files as they are now are not in force."""


def late_loops(progress: Mapping[str, datetime], hooks: Mapping[str, Hook], now: datetime) -> tuple[str, ...]:
    """Name the loops that make no progress; one of a hook may also wait for the receiver's answer."""
    patience = {f"hook {name}": hook.deadline for name, hook in hooks.items()}
    late = (
        name for name, moment in progress.items() if now - moment > LATE + patience.get(name, timedelta())
    )
    return tuple(sorted(late))
