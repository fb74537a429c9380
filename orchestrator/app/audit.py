"""What the accounts hold that no job knows: work of ours that lost its row, and work of nobody here."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from orchestrator.core.changeset import ATTEMPTS
from orchestrator.core.job import Job, marker, marker_prefix
from orchestrator.core.plan import Known, current
from orchestrator.core.run import Run, Snapshot, Status
from orchestrator.errors import Denied, ProviderError
from orchestrator.worker.account import AccountWorker
from orchestrator.worker.engine import Engine

Whose = Literal["ours", "another project's", "unknown"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One thing in an account that no run is bound to."""

    account: str
    what: Literal["fine-tune", "dataset"]
    id: str
    name: str | None
    status: str | None
    whose: Whose
    job: str | None = None
    """The job whose marker it carries."""
    run: str | None = None
    """The run that carries the same marker: given up, or bound to another."""
    to_do: str | None = None
    """The command that settles it, where one does."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Audit:
    """What was found, how much was looked at, and which accounts could not be read to the end."""

    findings: tuple[Finding, ...]
    looked_at: Mapping[str, int]
    errors: Mapping[str, ProviderError]


async def audit(engine: Engine, accounts: Iterable[str]) -> Audit:
    """Read each account to the end and subtract what is known; changes nothing."""
    findings: list[Finding] = []
    looked_at: dict[str, int] = {}
    errors: dict[str, ProviderError] = {}
    for name in accounts:
        try:
            worker = await engine.worker(name)
            listed = await worker.listing()
            looked_at[name] = len(listed)
            findings += await _fine_tunes(engine, worker, await worker.strangers(listed))
            findings += await _datasets(engine, worker)
        except (Denied, ProviderError) as error:
            errors[name] = error
    return Audit(findings=tuple(findings), looked_at=looked_at, errors=errors)


async def _datasets(engine: Engine, worker: AccountWorker) -> list[Finding]:
    """List what no declared job and no recorded job's run names."""
    standings = await engine.store.views.standings()
    asked = [(job.account, job.spec) for job in engine.manifest.jobs.values()]
    asked += [(one.run.account, one.run.spec) for one in standings if one.run is not None]
    named = set(_texts([spec for account, spec in asked if account == worker.name]))
    return [
        Finding(
            account=worker.name,
            what="dataset",
            id=dataset.id,
            name=dataset.name,
            status=dataset.status,
            whose="unknown",
        )
        for dataset in await worker.provider.datasets()
        if dataset.id not in named
    ]


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | Sequence):
        for inner in value.values() if isinstance(value, Mapping) else value:
            yield from _texts(inner)


async def _fine_tunes(
    engine: Engine, worker: AccountWorker, strangers: tuple[Snapshot, ...]
) -> list[Finding]:
    runs = await engine.store.work.markers([item.marker for item in strangers if item.marker])
    jobs = _declared_markers(engine, worker.name)
    _, known = await engine.store.declared.state()
    prefix = marker_prefix(engine.store.project)
    return [_finding(worker, item, runs, jobs, known, prefix) for item in strangers]


def _finding(
    worker: AccountWorker,
    item: Snapshot,
    runs: Mapping[str, Run],
    jobs: Mapping[str, Job],
    known: Sequence[Known],
    prefix: str,
) -> Finding:
    found = item.marker or ""
    run, job = runs.get(found), jobs.get(found)
    whose: Whose = "unknown"
    if found:
        whose = "ours" if found.startswith(prefix) else "another project's"
    stands_by = current(job, [one for one in known if one.job == job.name]) if job else None
    return Finding(
        account=worker.name,
        what="fine-tune",
        id=item.remote_id,
        name=item.name,
        status=item.provider_status,
        whose=whose,
        job=run.job if run else job.name if job else None,
        run=run.id if run else None,
        to_do=None if whose == "another project's" else _to_do(worker, item, job, stands_by),
    )


def _to_do(worker: AccountWorker, item: Snapshot, job: Job | None, run: Known | None) -> str | None:
    """Name the command that takes `item` over; where its job stands by another, the one that ends it."""
    if job is not None and (run is None or run.given_up):
        return f"orchestrator import {job.name} {item.remote_id}"
    if job is not None and run is not None and run.status is Status.IN_DOUBT:
        return f"orchestrator resolve {job.name} --adopt {item.remote_id}"
    ended = item.status is not None and item.status.final
    for how in ("delete",) if ended else ("cancel", "delete"):
        if worker.provider.can(how):
            return f"orchestrator audit {worker.name} --{how} {item.remote_id}"
    return None


def _declared_markers(engine: Engine, account: str) -> Mapping[str, Job]:
    """Return the markers that the declared jobs of `account` have or would have."""
    project = engine.store.project
    return {
        marker(project, account, job.name, job.fingerprint, attempt): job
        for job in engine.manifest.jobs.values()
        if job.account == account
        for attempt in range(1, ATTEMPTS + 1)
    }
