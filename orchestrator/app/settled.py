"""When there is nothing left to wait for: one rule for the daemon, the commands that wait, and Python."""

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum

from orchestrator.core.run import FINAL, Status
from orchestrator.store.store import Store
from orchestrator.store.views import JobState

ORDER = (
    Status.PENDING,
    Status.SUBMITTING,
    Status.IN_DOUBT,
    Status.QUEUED,
    Status.RUNNING,
    Status.SUCCEEDED,
)


class End(StrEnum):
    """How what was waited for has ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    """Something did not succeed, or a person must decide."""
    DENIED = "denied"
    """All that is left waits for credentials that are missing or refused."""


def arrived(standing: JobState, wanted: Status | None) -> bool | None:
    """Say whether a job is where it should be: True, False where it can no longer be, None while it may."""
    run = standing.run
    if run is None:
        return wanted is Status.PENDING if standing.record.held else None
    if wanted is None:
        if run.status.final:
            return run.status is Status.SUCCEEDED
        return False if run.stuck else None
    if run.status is wanted:
        return True
    if run.status is Status.SUCCEEDED:
        return wanted in ORDER
    if run.status in FINAL or run.stuck:
        return False
    past = wanted in ORDER and run.status in ORDER and ORDER.index(run.status) > ORDER.index(wanted)
    return True if past and wanted is not Status.IN_DOUBT else None


async def ended(store: Store, standings: Sequence[JobState], wanted: Status | None = None) -> End | None:
    """Say how these jobs have ended, or got to `wanted`; None while one of them may still move."""
    verdicts = [arrived(one, wanted) for one in standings]
    left = [one.record.account for one, verdict in zip(standings, verdicts, strict=True) if verdict is None]
    return await _end(store, left, verdicts)


async def all_ended(store: Store) -> End | None:
    """Say how every run has ended: those that may still move, and those that the declared jobs stand by.

    A job that is held and has no run was left to a person, so that nothing was waited for.
    """
    left = await store.views.moving()
    if left and not left.keys() <= (await refusals(store)).keys():
        return None
    standings = await store.views.standings()
    return await _end(store, left, [arrived(one, None) for one in standings if one.managed and one.run])


async def _end(store: Store, left: Iterable[str], verdicts: Sequence[bool | None]) -> End | None:
    """Judge by the accounts of what may still move, and by the verdicts on the jobs."""
    accounts = set(left)
    if accounts:
        return End.DENIED if accounts <= (await refusals(store)).keys() else None
    return End.FAILED if False in verdicts else End.SUCCEEDED


async def refusals(store: Store) -> Mapping[str, str]:
    """Name the accounts whose credentials were refused, and why, unless they are about to be tried again."""
    now = await store.now()
    return {
        one.name: one.paused
        for one in await store.accounts.all()
        if one.paused is not None and one.next_poll_at is not None and one.next_poll_at > now
    }
