"""What attempts say about a receiver: whether its hook stays on, and whether its origin rests."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

OPENS_AT = 5
"""Troubles in a row after which nothing is sent to an origin for a while."""
PROBE_AFTER = timedelta(seconds=60)
FLAGGED_AT = 3
"""Equal refusals in a row after which a hook is shown as refused."""
OFF_AFTER = timedelta(days=5)
"""How long a hook may fail, without one success, before it is switched off."""
LONGEST_REST = timedelta(hours=24)


@dataclass(frozen=True, kw_only=True, slots=True)
class Attempt:
    """How one attempt went; with none of these set it failed, and the receiver may be well otherwise."""

    taken: bool = False
    unsent: bool = False
    """It was given back before anything was tried."""
    stale: bool = False
    """The hook's table has changed since, so this says nothing about the hook now."""
    later: bool = False
    """It was asked for a later try, which is no failure."""
    gone: bool = False
    """The receiver wants no more."""
    down: bool = False
    """The receiver as a whole is in trouble: it refuses all, or does not answer."""
    code: int | None = None
    retry_after: float | None = None
    """Seconds that the receiver asked us to wait."""
    text: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class HookHealth:
    """The health of one hook, by its attempts and its table."""

    name: str
    origin: str = ""
    digest: str = ""
    """The hash of its table, so that a change is noticed."""
    declared: bool = True
    off: str | None = None
    """Why it was switched off."""
    off_at: datetime | None = None
    failing_since: datetime | None = None
    refusals: int = 0
    """Equal refusals (4xx) in a row."""
    code: int | None = None
    answer: str | None = None
    """The last failure, None after a success."""
    unfit: str | None = None
    """Why it cannot work here: a secret that is missing or malformed."""

    @property
    def flagged(self) -> bool:
        """Whether its receiver keeps refusing in the same way."""
        return self.refusals >= FLAGGED_AT


@dataclass(frozen=True, kw_only=True, slots=True)
class Breaker:
    """The state of one origin: after `OPENS_AT` troubles in a row it rests, then one attempt probes it."""

    failures: int = 0
    open_until: datetime | None = None

    def rests(self, now: datetime) -> bool:
        """Say whether nothing may be sent there."""
        return self.open_until is not None and self.open_until > now


def heard(health: HookHealth, attempt: Attempt, now: datetime) -> HookHealth:
    """Return how a hook stands after `attempt`."""
    if attempt.later or attempt.unsent or attempt.stale:
        return health
    if attempt.taken:
        return replace(health, failing_since=None, refusals=0, code=None, answer=None, unfit=None)
    since = health.failing_since or now
    refused = attempt.code is not None and 400 <= attempt.code < 500 and not attempt.down
    again = health.refusals if attempt.code == health.code else 0
    failed = replace(
        health,
        failing_since=since,
        refusals=again + 1 if refused else 0,
        code=attempt.code,
        answer=attempt.text,
    )
    if health.off is not None:
        return failed
    if attempt.gone:
        return replace(failed, off=f"the receiver asked for no more deliveries: {attempt.text}", off_at=now)
    if now - since >= OFF_AFTER:
        return replace(failed, off=f"failing for {OFF_AFTER.days} days: {attempt.text}", off_at=now)
    return failed


def rested(breaker: Breaker, attempt: Attempt, now: datetime) -> Breaker:
    """Return how an origin stands after `attempt`; any answer that is no trouble closes it."""
    if attempt.unsent or attempt.stale:
        return breaker
    if not attempt.down:
        return Breaker()
    failures = breaker.failures + 1
    if failures < OPENS_AT:
        return Breaker(failures=failures)
    asked = timedelta(seconds=min(attempt.retry_after or 0.0, LONGEST_REST.total_seconds()))
    return Breaker(failures=failures, open_until=now + max(PROBE_AFTER, asked))
