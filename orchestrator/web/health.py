"""What the daemon tells of itself, and which of its loops make no progress."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final, Protocol

from orchestrator.hooks.base import Hook

LATE: Final = timedelta(minutes=2)
"""Every loop goes round twice in this time at least, whether or not there is anything to do."""


class Health(Protocol):
    """A daemon, as far as it is asked how it is."""

    @property
    def progress(self) -> Mapping[str, datetime]:
        """When each loop last went round without a failure, or began."""

    @property
    def trouble(self) -> str | None:
        """Why the job files as they are now are not in force."""


def late_loops(progress: Mapping[str, datetime], hooks: Mapping[str, Hook], now: datetime) -> list[str]:
    """Name the loops that make no progress; one that sends to a hook may wait for its answer besides."""
    patience = {f"hook {name}": hook.deadline for name, hook in hooks.items()}
    return sorted(
        name for name, moment in progress.items() if now - moment > LATE + patience.get(name, timedelta())
    )
