"""Plans: computed, shown, and enacted exactly as they were shown."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from urllib.parse import urlsplit

import structlog

from orchestrator import crashpoint
from orchestrator.config.manifest import AccountOptions, Manifest
from orchestrator.core.changeset import Changeset, buying, hold, make_changeset
from orchestrator.core.job import Job
from orchestrator.core.plan import Action, Change, Known, Plan, Record, diff, plan
from orchestrator.errors import UsageError
from orchestrator.providers.base import Provider
from orchestrator.store.commit import Routing, make_id
from orchestrator.store.store import Store

log: structlog.stdlib.BoundLogger = structlog.get_logger("orchestrator.engine")

Registry = Mapping[str, type[Provider]]


async def preview(store: Store, manifest: Manifest, registry: Registry, *, again: bool = False) -> Plan:
    """Compute what an apply would do, with the differences of what it would replace, and write nothing."""
    records, known = await store.declared.state()
    found = _plan(manifest, records, known, again=again)
    replaced = [
        change.run.id
        for change in found.changes
        if change.action is Action.REPLACE and change.run is not None
    ]
    specs = await store.declared.specs(replaced) if replaced else {}
    changes = tuple(_with_diff(change, specs) for change in found.changes)
    bought = [
        change.declared
        for change in changes
        if change.declared is not None and change.action in (Action.CREATE, Action.REPLACE)
    ]
    said = warnings(manifest, registry, (change.account for change in changes), bought)
    return Plan(changes=changes, warnings=said)


def _plan(manifest: Manifest, records: Mapping[str, Record], known: Sequence[Known], *, again: bool) -> Plan:
    return plan(tuple(manifest.jobs.values()), records, known, again=again)


def _with_diff(change: Change, specs: Mapping[str, Mapping[str, object]]) -> Change:
    if change.run is None or change.declared is None or change.run.id not in specs:
        return change
    return replace(change, diff=tuple(diff(specs[change.run.id], change.declared.spec)))


def warnings(
    manifest: Manifest, registry: Registry, accounts: Iterable[str], bought: Iterable[Job] = ()
) -> tuple[str, ...]:
    """Say what a person should know of the files, of the `accounts` that they declare, and of new work."""
    said = [str(problem) for problem in manifest.warnings]
    for name in dict.fromkeys(name for name in accounts if name in manifest.accounts):
        options = manifest.accounts[name]
        kind = registry[options.kind]
        if kind.lifecycle is not None:
            said.append(f"{name}: {kind.lifecycle.message} ({kind.lifecycle.source})")
        if _elsewhere(options, kind):
            said.append(f"{name}: requests and credentials go to {options.base_url}")
    for job in bought:
        options = manifest.accounts[job.account]
        kind = registry[options.kind]
        doubt = None if _elsewhere(options, kind) else kind.doubt(job.spec)
        if doubt is not None:
            said.append(f"{job.name}: {doubt}")
    return tuple(said)


def _elsewhere(options: AccountOptions, kind: type[Provider]) -> bool:
    """Say whether an account is at another host or port than the provider's own."""
    return options.base_url is not None and _origin(options.base_url) != _origin(kind.base_url)


def _origin(url: str) -> tuple[str, str | None, int]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)


async def apply(
    store: Store,
    manifest: Manifest,
    registry: Registry,
    shown: Plan,
    routing: Routing,
    *,
    again: bool = False,
) -> Changeset:
    """Write `shown`; raises `UsageError` where the database has moved on since."""

    def decide(records: Mapping[str, Record], known: Sequence[Known], now: datetime) -> Changeset:
        crashpoint.reach("C02")
        current = _plan(manifest, records, known, again=again)
        if not _alike(current, shown):
            raise UsageError("the plan is out of date: runs have changed since", hint="orchestrator plan")
        return _enact(store, manifest, registry, current, known, now, {})

    crashpoint.reach("C01")
    writes = await store.declared.reconcile(decide, routing)
    crashpoint.reach("C03")
    return writes


async def unasked(store: Store, manifest: Manifest, registry: Registry) -> Sequence[Change]:
    """Return what the daemon would buy by itself now, where it may apply new work; writes nothing."""
    found = await preview(store, manifest, registry)
    held = hold(found, limit=manifest.settings.max_new_runs)
    return tuple(change for change in buying(found) if change.job not in held)


async def automatic(
    store: Store, manifest: Manifest, registry: Registry, routing: Routing, *, apply_new: bool
) -> Changeset:
    """Reconcile as the daemon does by itself: nothing is cancelled, and what needs a person is held."""

    def decide(records: Mapping[str, Record], known: Sequence[Known], now: datetime) -> Changeset:
        found = _plan(manifest, records, known, again=False)
        held = hold(found, limit=manifest.settings.max_new_runs, apply_new=apply_new)
        held = {**_told(found, records), **held}
        kept = tuple(
            replace(change, action=Action.NONE) if change.action is Action.CANCEL else change
            for change in found.changes
        )
        return _enact(store, manifest, registry, Plan(changes=kept), known, now, held)

    writes = await store.declared.reconcile(decide, routing)
    for record in writes.records:
        if record.held:
            log.warning("job.held", job=record.name, reason=record.held)
    for run in writes.runs:
        # Before it is sent, which begins with a listing of its account.
        why = "a paid run, which the job files ask for"
        log.info("run.buying", job=run.job, account=run.account, attempt=run.attempt, message=why)
    return writes


def _told(plan: Plan, records: Mapping[str, Record]) -> Mapping[str, str]:
    """Return what a plan only remarks on, by job: who looks at the status should read it, too.

    Where the run that it is about belongs to another job, the record of a run of its own is left as it is.
    """
    return {
        change.job: change.reason
        for change in plan.changes
        if change.notice and change.declared is not None and change.run is not None
        if change.run.job == change.job
        or change.job not in records
        or records[change.job].fingerprint == change.declared.fingerprint
    }


def _enact(
    store: Store,
    manifest: Manifest,
    registry: Registry,
    found: Plan,
    known: Sequence[Known],
    now: datetime,
    held: Mapping[str, str],
) -> Changeset:
    return make_changeset(
        found,
        known,
        project=manifest.settings.project,
        now=now,
        make_id=_run_id,
        steps={kind: provider.steps for kind, provider in registry.items()},
        held=held,
    )


def _run_id() -> str:
    return make_id("run")


def _alike(one: Plan, other: Plan) -> bool:
    return _essence(one) == _essence(other)


def seal(plan: Plan, manifest: Manifest) -> str:
    """Return what a saved plan is known by: the files, and the state that it was made for."""
    return hashlib.sha256(f"{manifest.digest}{_essence(plan)}".encode()).hexdigest()


def _essence(plan: Plan) -> list[object]:
    return [
        (
            str(change.action),
            change.job,
            change.account,
            change.run and (change.run.id, str(change.run.status)),
            change.declared and (change.declared.fingerprint, str(change.declared.policy)),
        )
        for change in plan.changes
    ]
