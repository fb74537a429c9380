"""What an apply would do, and what a person should know before it."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

from orchestrator.app.documents import Document, Whole
from orchestrator.config.manifest import AccountOptions, Manifest
from orchestrator.core.changeset import buying, hold
from orchestrator.core.job import Job
from orchestrator.core.plan import Action, AppliedJob, Change, Plan, RunSummary, diff
from orchestrator.core.plan import plan as compare
from orchestrator.providers.base import Provider
from orchestrator.providers.registry import registry
from orchestrator.store.store import Store


@dataclass(frozen=True, kw_only=True)
class ChangeDocument(Document):
    """What a plan does with one job, and why."""

    job: str
    action: Action
    reason: str
    provider: str
    diff: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True, kw_only=True)
class PlanDocument(Whole):
    """What an apply would do."""

    changes: tuple[ChangeDocument, ...]
    summary: Mapping[str, int]
    warnings: tuple[str, ...]


async def preview(store: Store, manifest: Manifest, *, again: bool = False) -> Plan:
    """Compute what an apply would do, with the differences of what it would replace; writes nothing."""
    records, known = await store.declared.state(tuple(manifest.jobs.values()))
    found = planned(manifest, records, known, again=again)
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
    said = warnings(manifest, (change.account for change in changes), bought)
    return Plan(changes=changes, warnings=said)


def planned(
    manifest: Manifest, records: Mapping[str, AppliedJob], known: Sequence[RunSummary], *, again: bool
) -> Plan:
    """Compare the declared jobs with what is recorded."""
    return compare(tuple(manifest.jobs.values()), records, known, again=again)


def _with_diff(change: Change, specs: Mapping[str, Mapping[str, object]]) -> Change:
    if change.run is None or change.declared is None or change.run.id not in specs:
        return change
    return replace(change, diff=tuple(diff(specs[change.run.id], change.declared.spec)))


async def unasked(store: Store, manifest: Manifest) -> Sequence[Change]:
    """Return what the daemon would buy by itself now, where it may apply new work; writes nothing."""
    found = await preview(store, manifest)
    held = hold(found, limit=manifest.settings.max_new_runs)
    return tuple(change for change in buying(found) if change.job not in held)


def warnings(manifest: Manifest, accounts: Iterable[str], bought: Iterable[Job] = ()) -> tuple[str, ...]:
    """Say what a person should know of the files, of the `accounts` that they declare, and of new work."""
    said = [str(problem) for problem in manifest.warnings]
    for name in dict.fromkeys(name for name in accounts if name in manifest.accounts):
        options = manifest.accounts[name]
        kind = registry()[options.kind]
        if kind.lifecycle is not None:
            said.append(f"{name}: {kind.lifecycle.message} ({kind.lifecycle.source})")
        if _elsewhere(options, kind):
            said.append(f"{name}: requests and credentials go to {options.base_url}")
    for job in bought:
        options = manifest.accounts[job.account]
        kind = registry()[options.kind]
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


def seal(plan: Plan, manifest: Manifest) -> str:
    """Return what a saved plan is known by: the files, and the state that it was made for."""
    return hashlib.sha256(f"{manifest.digest}{essence(plan)}".encode()).hexdigest()


def essence(plan: Plan) -> list[object]:
    """Return what makes two plans do the same."""
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


def document(plan: Plan) -> PlanDocument:
    """Return the whole of `plan --json`."""
    return PlanDocument(
        changes=tuple(change(one) for one in plan.changes), summary=plan.summary, warnings=plan.warnings
    )


def change(change: Change) -> ChangeDocument:
    """Return what a plan does with one job."""
    return ChangeDocument(
        job=change.job,
        action=change.action,
        reason=change.reason,
        provider=change.account,
        diff=change.diff,
    )
