"""The documents that scripts read (`contract.md` §3): the same for the command line and the API."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from orchestrator.config.duration import show
from orchestrator.config.manifest import Settings
from orchestrator.core.cadence import lag, lags
from orchestrator.core.delivery import Delivery, stamp
from orchestrator.core.event import Event
from orchestrator.core.plan import Change, Plan
from orchestrator.core.run import Reason, Run
from orchestrator.store.accounts import Account
from orchestrator.store.daemons import Beat
from orchestrator.store.hearing import HookStanding
from orchestrator.store.store import Store
from orchestrator.store.views import Standing

SCHEMA_VERSION = 1


async def status(store: Store, settings: Settings, names: Sequence[str] | None = None) -> dict[str, Any]:
    """Return the whole of `status --json`; `names` narrows the jobs."""
    accounts = {account.name: account for account in await store.accounts.all()}
    standings = await store.views.standings(names)
    now = await store.now()
    return {
        "schema_version": SCHEMA_VERSION,
        "jobs": [job(standing, accounts.get(standing.record.account)) for standing in standings],
        "providers": [provider(account, settings.poll_interval, now) for account in accounts.values()],
        "hooks": [hook(one) for one in await store.hearings.all()],
        "daemon": daemon(await store.daemons.latest()),
    }


def job(standing: Standing, account: Account | None) -> dict[str, Any]:
    """Return one job with its current run; one that is held has no run yet, or an older one."""
    run, record = standing.run, standing.record
    reason = run.reason if run else None
    message = run.message if run else None
    if record.held and (run is None or run.status.final or reason is None):
        reason, message = Reason.HELD, record.held
    return {
        "job": record.name,
        "provider": record.account,
        "status": run.status if run else "pending",
        "provider_status": run.provider_status if run else None,
        "remote_id": run.remote_id if run else None,
        "run_id": run.id if run else None,
        "attempt": run.attempt if run else None,
        "result": run.result if run else None,
        "reason": reason,
        "message": message,
        "managed": standing.managed,
        "cancel_requested": bool(run and run.cancel and not run.status.final),
        "submitted_at": stamp(run.submitted_at) if run else None,
        "finished_at": stamp(run.finished_at) if run else None,
        "updated_at": stamp(run.updated_at) if run else None,
        "confirmed_at": stamp(confirmed(run, account)) if run else None,
    }


def confirmed(run: Run, account: Account | None) -> datetime | None:
    """Return when the provider last showed `run` as it is: a complete look, or its own last change."""
    if run.submitted_at is None:
        return None
    if run.status.final or account is None or account.confirmed_at is None:
        return run.updated_at
    return max(run.updated_at, account.confirmed_at)


def provider(account: Account, interval: timedelta, now: datetime) -> dict[str, Any]:
    """Return one account and whether what is known of it is fresh; `interval` holds before its first look."""
    effective = account.interval or interval
    late = lag(account.known_at, effective, now) if account.open else None
    return {
        "provider": account.name,
        "kind": account.kind,
        "state": state(account, effective, now),
        "reason": account.paused or account.last_error,
        "confirmed_at": stamp(account.confirmed_at),
        "next_poll_at": stamp(account.next_poll_at) if account.open else None,
        "poll_interval": show(effective),
        "poll_lag": None if late is None else round(late.total_seconds(), 3),
        "open": account.open,
    }


def state(account: Account, interval: timedelta, now: datetime) -> str:
    """Say whether an account is `ok`, `paused`, `stale` or `idle`."""
    if account.paused is not None:
        return "paused"
    if account.open == 0:
        return "stale" if account.failures else "idle"
    return "stale" if account.failures or lags(account.known_at, interval, now) else "ok"


def hook(standing: HookStanding) -> dict[str, Any]:
    """Return one hook and whether it hears; `reason` says why not, or what its receiver last answered."""
    hearing = standing.hearing
    return {
        "hook": hearing.name,
        "state": hook_state(standing),
        "reason": hearing.off or hearing.unfit or hearing.answer,
        "waiting": standing.waiting,
        "failing_since": stamp(hearing.failing_since),
        "rests_until": stamp(standing.rests_until),
    }


def hook_state(standing: HookStanding) -> str:
    """Say whether a hook is ok, off, unfit, refused, resting, failing or gone from the files."""
    hearing = standing.hearing
    states = {
        "gone": not hearing.declared,
        "off": hearing.off is not None,
        "unfit": hearing.unfit is not None,
        "refused": hearing.flagged,
        "resting": standing.rests_until is not None,
        "failing": hearing.failing_since is not None,
    }
    return next((state for state, holds in states.items() if holds), "ok")


def daemon(beat: Beat | None) -> dict[str, Any] | None:
    """Return the daemon that was seen last."""
    if beat is None:
        return None
    return {
        "seen_at": stamp(beat.seen_at),
        "host": beat.host,
        "pid": beat.pid,
        "running": beat.fresh,
    }


def event(event: Event) -> dict[str, Any]:
    """Return one event of `events --json`."""
    return {
        "id": event.id,
        "type": event.type,
        "timestamp": stamp(event.timestamp),
        "job": event.job,
        "provider": event.account,
        "run_id": event.run_id,
        "sequence": event.sequence,
        "status": event.status,
        "previous_status": event.previous_status,
        "provider_status": event.provider_status,
        "message": event.message,
    }


def delivery(delivery: Delivery) -> dict[str, Any]:
    """Return one delivery of `hooks log --json`."""
    return {
        "id": delivery.id,
        "hook": delivery.hook,
        "event": delivery.event,
        "job": delivery.job,
        "state": delivery.state,
        "attempts": delivery.attempts,
        "due_at": stamp(delivery.due_at),
        "settled_at": stamp(delivery.settled_at),
        "last_error": delivery.last_error,
    }


def plan(plan: Plan) -> dict[str, Any]:
    """Return the whole of `plan --json`."""
    return {
        "schema_version": SCHEMA_VERSION,
        "changes": [change(one) for one in plan.changes],
        "summary": dict(plan.summary),
        "warnings": list(plan.warnings),
    }


def change(change: Change) -> dict[str, Any]:
    """Return one change of a plan."""
    return {
        "job": change.job,
        "action": change.action,
        "reason": change.reason,
        "provider": change.account,
        "diff": [dict(part) for part in change.diff],
    }
