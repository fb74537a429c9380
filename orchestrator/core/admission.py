"""Whether a pending run may start, decided here alone, over values that the claiming transaction has read."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, Literal

from orchestrator.core.run import Reason, Status


@dataclass(frozen=True, kw_only=True, slots=True)
class AccountLimits:
    """What an account allows at the moment."""

    open: int = 0
    """Runs that count against `max_running`, with those that are claimed to be sent."""
    max_running: int | None = None
    paused: str | None = None
    """Why its credentials are refused, None while they are not."""
    rests_until: datetime | None = None
    """An account that failed or is paused is left alone until then."""

    @property
    def full(self) -> bool:
        """Say whether no further run may be open."""
        return self.max_running is not None and self.open >= self.max_running


def rest_of(
    *,
    paused: str | None,
    failures: int | None,
    next_poll_at: datetime | None,
    blocked_until: datetime | None,
) -> datetime | None:
    """Say until when an account is left alone: as its provider asked, and while it fails or is paused."""
    ours = next_poll_at if paused is not None or failures else None
    return max(filter(None, (ours, blocked_until)), default=None)


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """A run as far as it matters for its start."""

    id: str
    status: Status = Status.PENDING
    due_at: datetime | None = None
    after: str | None = None
    """The run that must be final first."""
    after_status: Status | None = None
    """Where that one stands; None where it is not known any more."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Why a run does not start yet; `reason` is None where time alone, or nothing at all, will start it."""

    reason: Reason | None
    message: str


NO_ROOM: Final = Wait(Reason.LIMIT, "waiting: max_running of its account is reached")


def admit(run: Candidate, account: AccountLimits, now: datetime) -> Literal["start"] | Wait:
    """Say "start", or why `run` has to wait.

    A paused account whose rest is over is tried: whether its credentials serve again, only it can tell.
    """
    if run.status is not Status.PENDING:
        return Wait(None, f"it is {run.status}")
    if run.after is not None and run.after_status is not None and not run.after_status.final:
        return Wait(Reason.NEEDS, f"it is sent once {run.after}, which it replaces, has ended")
    if account.rests_until is not None and account.rests_until > now:
        if account.paused is not None:
            return Wait(Reason.CREDENTIALS, account.paused)
        return Wait(None, "its account is left alone for a while")
    if account.full:
        return NO_ROOM
    if run.due_at is not None and run.due_at > now:
        return Wait(None, f"it is sent at {run.due_at:%H:%M:%S} UTC")
    return "start"


@dataclass(frozen=True, kw_only=True, slots=True)
class Admission:
    """The ids of those that start, in their order, and why each of the others waits."""

    start: tuple[str, ...] = ()
    waits: tuple[tuple[str, Wait], ...] = ()


def admit_all(
    runs: Sequence[Candidate], account: AccountLimits, now: datetime, *, most: int | None = None
) -> Admission:
    """Decide about `runs` one after the other, each start taking room from the rest; at most `most` start.

    Those beyond `most` that might start are in neither list: they are asked about again.
    """
    start: list[str] = []
    waits: list[tuple[str, Wait]] = []
    for run in runs:
        verdict = admit(run, account, now)
        if isinstance(verdict, Wait):
            waits.append((run.id, verdict))
        elif most is None or len(start) < most:
            start.append(run.id)
            account = replace(account, open=account.open + 1)
    return Admission(start=tuple(start), waits=tuple(waits))
