"""What the accounts hold that no job knows: work of ours that lost its row, and work of nobody here."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from orchestrator.core.enact import ATTEMPTS
from orchestrator.core.job import Job, marker, marker_prefix
from orchestrator.core.run import Run, Snapshot
from orchestrator.engine.engine import Engine
from orchestrator.errors import Denied, ProviderError

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
            lane = await engine.lane(name)
            listed = await lane.listing()
            looked_at[name] = len(listed)
            findings += await _fine_tunes(engine, name, await lane.strangers(listed))
            findings += [
                Finding(
                    account=name,
                    what="dataset",
                    id=dataset.id,
                    name=dataset.name,
                    status=dataset.status,
                    whose="unknown",
                )
                for dataset in await lane.provider.datasets()
            ]
        except (Denied, ProviderError) as error:
            errors[name] = error
    return Audit(findings=tuple(findings), looked_at=looked_at, errors=errors)


async def _fine_tunes(engine: Engine, account: str, strangers: tuple[Snapshot, ...]) -> list[Finding]:
    markers = [item.marker for item in strangers if item.marker]
    runs = await engine.store.work.markers(markers)
    jobs = _declared_markers(engine, account)
    prefix = marker_prefix(engine.store.project)
    return [_finding(account, item, runs, jobs, prefix) for item in strangers]


def _finding(
    account: str, item: Snapshot, runs: Mapping[str, Run], jobs: Mapping[str, Job], prefix: str
) -> Finding:
    found = item.marker or ""
    run, job = runs.get(found), jobs.get(found)
    whose: Whose = "unknown"
    if found:
        whose = "ours" if found.startswith(prefix) else "another project's"
    return Finding(
        account=account,
        what="fine-tune",
        id=item.remote_id,
        name=item.name,
        status=item.provider_status,
        whose=whose,
        job=run.job if run else job.name if job else None,
        run=run.id if run else None,
    )


def _declared_markers(engine: Engine, account: str) -> Mapping[str, Job]:
    """Return the markers that the declared jobs of `account` have or would have."""
    project = engine.store.project
    return {
        marker(project, account, job.name, job.fingerprint, attempt): job
        for job in engine.manifest.jobs.values()
        if job.account == account
        for attempt in range(1, ATTEMPTS + 1)
    }
