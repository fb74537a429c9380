"""Recording a plan: as a person confirmed it, or as the daemon may by itself."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import structlog

from orchestrator import crashpoint
from orchestrator.app.documents import StatusDocument
from orchestrator.app.plan import PlanDocument, essence, planned
from orchestrator.app.settled import arrived
from orchestrator.config.manifest import Manifest
from orchestrator.core.changeset import Changeset, hold, make_changeset
from orchestrator.core.plan import Action, AppliedJob, Plan, RunSummary
from orchestrator.core.run import Run
from orchestrator.errors import UsageError
from orchestrator.providers.registry import registry
from orchestrator.store.commit import Routing, make_id
from orchestrator.store.store import Store
from orchestrator.worker.engine import Engine

log: structlog.stdlib.BoundLogger = structlog.get_logger("orchestrator.worker")


@dataclass(frozen=True, kw_only=True, slots=True)
class Recorded:
    """What an apply wrote."""

    runs: Sequence[Run]
    """The runs that it started, none of them sent yet."""
    jobs: Sequence[str]
    """Their jobs; where it started none, those whose runs of earlier still wait or run."""


@dataclass(frozen=True, kw_only=True)
class AppliedDocument(StatusDocument, PlanDocument):
    """What an apply did, and how everything stands after it."""


async def apply(engine: Engine, shown: Plan, *, again: bool = False) -> Recorded:
    """Record `shown`, for `submit` or the daemon to send; accounts in trouble may be asked at once.

    Raises `UsageError` where the database has moved on since.
    """
    store, manifest = engine.store, engine.manifest

    def decide(records: Mapping[str, AppliedJob], known: Sequence[RunSummary], now: datetime) -> Changeset:
        crashpoint.reach("recording")
        current = planned(manifest, records, known, again=again)
        if essence(current) != essence(shown):
            raise UsageError("the plan is out of date: runs have changed since", hint="orchestrator plan")
        return _changes(store, manifest, current, known, now, {})

    crashpoint.reach("before-recording")
    writes = await store.declared.reconcile(decide, tuple(manifest.jobs.values()), engine.routing)
    crashpoint.reach("recorded")
    await store.accounts.reconsider(*manifest.accounts)
    return Recorded(runs=writes.runs, jobs=await _concerned(store, manifest, writes))


async def _concerned(store: Store, manifest: Manifest, writes: Changeset) -> Sequence[str]:
    if writes.runs:
        return [run.job for run in writes.runs]
    standings = await store.views.standings(list(manifest.jobs))
    return [one.record.name for one in standings if one.run is not None and arrived(one, None) is None]


async def automatic(store: Store, manifest: Manifest, routing: Routing, *, apply_new: bool) -> Changeset:
    """Reconcile as the daemon does by itself: nothing is cancelled, and what needs a person is held."""

    def decide(records: Mapping[str, AppliedJob], known: Sequence[RunSummary], now: datetime) -> Changeset:
        found = planned(manifest, records, known, again=False)
        held = hold(found, limit=manifest.settings.max_new_runs, apply_new=apply_new)
        held = {**_noticed(found, records), **held}
        kept = tuple(
            replace(change, action=Action.NONE) if change.action is Action.CANCEL else change
            for change in found.changes
        )
        return _changes(store, manifest, Plan(changes=kept), known, now, held)

    writes = await store.declared.reconcile(decide, tuple(manifest.jobs.values()), routing)
    for record in writes.records:
        if record.held:
            log.warning("job.held", job=record.name, reason=record.held)
    for run in writes.runs:
        # Logged before it is sent, which begins with a listing of its account.
        why = "a paid run, which the job files ask for"
        log.info("run.buying", job=run.job, account=run.account, attempt=run.attempt, message=why)
    return writes


def _noticed(plan: Plan, records: Mapping[str, AppliedJob]) -> Mapping[str, str]:
    """Return what a plan only remarks on, by job, so that `status` shows it too.

    Where the remark is about another job's run, a job that is recorded with a run of its own keeps its
    record as it is.
    """
    return {
        change.job: change.reason
        for change in plan.changes
        if change.notice and change.declared is not None and change.run is not None
        if change.run.job == change.job
        or change.job not in records
        or records[change.job].fingerprint == change.declared.fingerprint
    }


def _changes(
    store: Store,
    manifest: Manifest,
    found: Plan,
    known: Sequence[RunSummary],
    now: datetime,
    held: Mapping[str, str],
) -> Changeset:
    return make_changeset(
        found,
        known,
        project=manifest.settings.project,
        now=now,
        make_id=_run_id,
        steps={kind: provider.steps for kind, provider in registry().items()},
        held=held,
    )


def _run_id() -> str:
    return make_id("run")
