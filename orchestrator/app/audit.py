"""What the accounts hold that no job knows: our own work that lost its row, and anybody else's."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from orchestrator.app.cancel import How
from orchestrator.app.documents import Document, Whole
from orchestrator.config.manifest import Manifest
from orchestrator.core.changeset import ATTEMPTS
from orchestrator.core.job import Job, marker, marker_prefix
from orchestrator.core.plan import RunSummary, current
from orchestrator.core.run import Run, Snapshot, Status
from orchestrator.errors import Denied, ProviderError, UnknownName, UsageError
from orchestrator.worker.account import AccountWorker
from orchestrator.worker.engine import Engine

Whose = Literal["ours", "another project's", "unknown"]


@dataclass(frozen=True, kw_only=True)
class Finding(Document):
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


@dataclass(frozen=True, kw_only=True)
class AuditDocument(Whole):
    """What was found, how much was looked at, and which accounts could not be read to the end."""

    findings: tuple[Finding, ...]
    looked_at: Mapping[str, int]
    """Fine-tunes that were read, by account."""
    errors: Mapping[str, str]
    """Why an account could not be read to the end."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Audit:
    """What an audit found; `denied` says that every error is of missing or refused credentials."""

    document: AuditDocument
    denied: bool


async def audit(engine: Engine, accounts: Iterable[str] = ()) -> Audit:
    """Read the accounts, or all of them, to the end and subtract what is known; changes nothing."""
    findings: list[Finding] = []
    looked_at: dict[str, int] = {}
    errors: dict[str, ProviderError] = {}
    for name in tuple(accounts) or engine.manifest.accounts:
        try:
            worker = await engine.worker(name)
            listed = await worker.listing()
            looked_at[name] = len(listed)
            findings += await _fine_tunes(engine, worker, await worker.strangers(listed))
            findings += await _datasets(engine, worker)
        except (Denied, ProviderError) as error:
            errors[name] = error
    document = AuditDocument(
        findings=tuple(findings),
        looked_at=looked_at,
        errors={name: error.message for name, error in errors.items()},
    )
    denied = bool(errors) and all(isinstance(error, Denied) for error in errors.values())
    return Audit(document=document, denied=denied)


def require_accounts(manifest: Manifest, names: Iterable[str]) -> None:
    """Raise `UnknownName` for an account that no file declares."""
    for name in names:
        if name not in manifest.accounts:
            hint = "declared: " + ", ".join(manifest.accounts)
            raise UnknownName(f"no account {name}", name, manifest.accounts, hint=hint)


async def stranger(engine: Engine, found: AuditDocument, remote_id: str, how: How) -> Finding:
    """Return the fine-tune of no job that is to be ended; raises `UsageError` where it cannot be."""
    finding = next((one for one in found.findings if one.id == remote_id), None)
    if finding is None:
        raise UsageError(
            f"{remote_id} is not in the list of what belongs to no job", hint="orchestrator audit"
        )
    if finding.what == "dataset":
        raise UsageError(f"{remote_id} is a dataset", hint=f"delete it in the console of {finding.account}")
    worker = await engine.worker(finding.account)
    if not worker.provider.can(how):
        raise UsageError(f"{worker.provider.title} has no {how} for a fine-tune")
    return finding


async def end(engine: Engine, finding: Finding, how: How) -> None:
    """Cancel or delete a fine-tune that belongs to no job."""
    provider = (await engine.worker(finding.account)).provider
    await (provider.cancel if how == "cancel" else provider.delete)(finding.id)


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
    _, known = await engine.store.declared.state(tuple(engine.manifest.jobs.values()))
    prefix = marker_prefix(engine.store.project)
    return [_finding(worker, item, runs, jobs, known, prefix) for item in strangers]


def _finding(
    worker: AccountWorker,
    item: Snapshot,
    runs: Mapping[str, Run],
    jobs: Mapping[str, Job],
    known: Sequence[RunSummary],
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


def _to_do(worker: AccountWorker, item: Snapshot, job: Job | None, run: RunSummary | None) -> str | None:
    """Name the command that binds `item` to its job, or ends it where the job has another run."""
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
