"""The table of jobs: the same in `status`, while a command waits, and at the end."""

from collections.abc import Iterable, Mapping
from datetime import timedelta

from orchestrator.app.documents import JobDocument
from orchestrator.cli._table import Column, Table
from orchestrator.cli._text import age, short
from orchestrator.core.run import Reason

COLUMNS = (
    Column("job", cut=True),
    Column("provider", cut=True, wide=True),
    Column("state", state=True),
    Column("reason", wide=True),
    Column("remote id", wide=True),
    Column("age"),
    Column("confirmed", wide=True),
    Column("model or reason", wrap=True),
)
REASONS = {
    Reason.LOOKING: "its answer was lost and is being looked for",
    Reason.PARKED: "its answer was lost; you decide: orchestrator why {job}",
    Reason.CONFLICT: "several fine-tunes could be it; you decide: orchestrator why {job}",
    Reason.CREDENTIALS: "waits for the credentials of {provider}",
    Reason.LIMIT: "waits, since max_running of {provider} is reached",
    Reason.HELD: "held",
    Reason.NEEDS: "waits for another job",
}
SAYS_ALL = (Reason.LIMIT,)
"""Reasons whose message would only repeat them."""


def standing(jobs: Iterable[JobDocument], usual: Mapping[str, timedelta], *, wide: bool) -> Table:
    """Show jobs; `usual` is how long a run takes, by account."""
    rows = [
        (
            job.job,
            job.provider,
            job.status,
            job.reason,
            job.remote_id,
            _age(job, usual),
            age(job.confirmed_at),
            sentence(job),
        )
        for job in jobs
    ]
    return Table.of(COLUMNS, rows, wide=wide)


def _age(job: JobDocument, usual: Mapping[str, timedelta]) -> str:
    """Write how long ago a run ended, or how long it has taken and usually takes."""
    taken = age(job.finished_at or job.submitted_at or job.updated_at)
    if job.finished_at or not job.submitted_at or job.provider not in usual:
        return taken
    return f"{taken} of {short(usual[job.provider])}"


def sentence(job: JobDocument) -> str:
    """Write the model of a job that succeeded, else why it stands where it does."""
    parts = []
    if job.result:
        parts.append(str(job.result.get("model")))
    if job.reason:
        said = REASONS[job.reason].format(job=job.job, provider=job.provider)
        told = job.message if job.reason not in SAYS_ALL else None
        parts.append(f"{said}: {told}" if told else said)
    elif job.message:
        parts.append(job.message)
    elif job.provider_status and not job.result:
        parts.append(f"{job.provider} says {job.provider_status}")
    if job.cancel_requested and " requested" not in (job.message or ""):
        parts.append("cancel requested")
    if not job.managed:
        parts.append("in no job file any more")
    return "; ".join(parts)
