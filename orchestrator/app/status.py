"""How jobs, accounts, hooks and the daemon stand, from the database alone."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Literal

from orchestrator.app.documents import (
    DaemonDocument,
    HookDocument,
    HookState,
    JobDocument,
    ProviderDocument,
    StatusDocument,
)
from orchestrator.config.duration import show
from orchestrator.config.manifest import Settings
from orchestrator.core.cadence import lag, lags
from orchestrator.core.run import Reason, Run, Status
from orchestrator.errors import UnknownName, UsageError
from orchestrator.store.accounts import Account
from orchestrator.store.daemons import Beat
from orchestrator.store.hooks import HookStanding
from orchestrator.store.store import Store
from orchestrator.store.views import JobState


async def status(store: Store, settings: Settings, names: Sequence[str] | None = None) -> StatusDocument:
    """Return the whole of `status --json`; `names` narrows the jobs."""
    accounts = {account.name: account for account in await store.accounts.all()}
    standings = await store.views.standings(names)
    now = await store.now()
    return StatusDocument(
        jobs=tuple(job(standing, accounts.get(standing.record.account)) for standing in standings),
        providers=tuple(provider(account, settings.poll_interval, now) for account in accounts.values()),
        hooks=await hooks(store),
        daemon=daemon(await store.daemons.latest()),
    )


async def known(store: Store, names: Sequence[str], declared: Collection[str] = ()) -> Sequence[JobState]:
    """Return the standings of `names`; raises `UnknownName` for one that is not recorded.

    Of the jobs that the files declare, `declared`, some may not be recorded yet.
    """
    standings = await store.views.standings(list(names))
    there = {standing.record.name for standing in standings}
    for name in names:
        if name not in there:
            every = {standing.record.name for standing in await store.views.standings()}
            raise unrecorded(name, every, declared)
    return standings


def unrecorded(name: str, recorded: Iterable[str], declared: Collection[str] = ()) -> UsageError:
    """Say of a job that nothing is recorded of it, and which one may have been meant."""
    if name in declared:
        return UsageError(f"{name} is declared, but not recorded yet", hint="orchestrator apply")
    hint = "orchestrator status lists them; apply records new ones"
    return UnknownName(f"no job {name} is recorded", name, {*recorded, *declared}, hint=hint)


async def one(store: Store, name: str, run: Run | None = None) -> JobDocument:
    """Return one job as it stands now, or with `run`; raises `UnknownName` for one that is not recorded."""
    (standing,) = await known(store, [name])
    accounts = {account.name: account for account in await store.accounts.all()}
    return job(replace(standing, run=run or standing.run), accounts.get(standing.record.account))


def job(standing: JobState, account: Account | None) -> JobDocument:
    """Return one job with its current run; one that is held has no run yet, or an older one."""
    run, record = standing.run, standing.record
    reason = run.reason if run else None
    message = run.message if run else None
    if record.held and (run is None or run.status.final or reason is None):
        reason, message = Reason.HELD, record.held
    return JobDocument(
        job=record.name,
        provider=record.account,
        status=run.status if run else Status.PENDING,
        provider_status=run.provider_status if run else None,
        remote_id=run.remote_id if run else None,
        run_id=run.id if run else None,
        attempt=run.attempt if run else None,
        result=run.result if run else None,
        reason=reason,
        message=message,
        managed=standing.managed,
        cancel_requested=bool(run and run.cancel and not run.status.final),
        submitted_at=run.submitted_at if run else None,
        finished_at=run.finished_at if run else None,
        updated_at=run.updated_at if run else None,
        confirmed_at=_confirmed(run, account) if run else None,
    )


def _confirmed(run: Run, account: Account | None) -> datetime | None:
    """Return when the provider last showed `run` as it is: a complete listing, or its own last change."""
    if run.submitted_at is None:
        return None
    if run.status.final or account is None or account.confirmed_at is None:
        return run.updated_at
    return max(run.updated_at, account.confirmed_at)


def provider(account: Account, interval: timedelta, now: datetime) -> ProviderDocument:
    """Return one account; `interval` holds until it was polled for the first time."""
    effective = account.interval or interval
    late = lag(account.known_at, effective, now) if account.open else None
    return ProviderDocument(
        provider=account.name,
        kind=account.kind,
        state=_state(account, effective, now),
        reason=account.paused or account.last_error,
        confirmed_at=account.confirmed_at,
        next_poll_at=account.next_poll_at if account.open else None,
        poll_interval=show(effective),
        poll_lag=None if late is None else round(late.total_seconds(), 3),
        open=account.open,
    )


def _state(account: Account, interval: timedelta, now: datetime) -> Literal["ok", "paused", "stale", "idle"]:
    if account.paused is not None:
        return "paused"
    if account.open == 0:
        return "stale" if account.failures else "idle"
    return "stale" if account.failures or lags(account.known_at, interval, now) else "ok"


async def hooks(store: Store) -> tuple[HookDocument, ...]:
    """Return every hook that is declared, or that something still waits for."""
    return tuple(_hook(one) for one in await store.hooks.all())


def _hook(standing: HookStanding) -> HookDocument:
    """Return one hook; `reason` says why it hears nothing, or what its receiver last answered."""
    health = standing.health
    return HookDocument(
        hook=health.name,
        state=_hook_state(standing),
        reason=health.off or health.unfit or health.answer,
        waiting=standing.waiting,
        failing_since=health.failing_since,
        rests_until=standing.rests_until,
    )


def _hook_state(standing: HookStanding) -> HookState:
    health = standing.health
    states: dict[HookState, bool] = {
        "gone": not health.declared,
        "off": health.off is not None,
        "unfit": health.unfit is not None,
        "refused": health.flagged,
        "resting": standing.rests_until is not None,
        "failing": health.failing_since is not None,
    }
    return next((state for state, holds in states.items() if holds), "ok")


def daemon(beat: Beat | None) -> DaemonDocument | None:
    """Return the daemon that was seen last."""
    if beat is None:
        return None
    return DaemonDocument(seen_at=beat.seen_at, host=beat.host, pid=beat.pid, running=beat.fresh)
