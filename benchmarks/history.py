"""What the past costs: commands where each job has had twenty runs before, beside the same without them."""

import os
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio
import sqlalchemy as sa

from benchmarks.command import cpu
from benchmarks.startup import ORCHESTRATOR
from benchmarks.table import line, ms
from benchmarks.world import ACCOUNT, CHUNK, PROJECT, applied, environment
from orchestrator.app.kinds import kinds
from orchestrator.config.load import load
from orchestrator.core.changeset import new_run
from orchestrator.core.job import Job
from orchestrator.core.run import Run, Status
from orchestrator.store.database import Database, Tx
from orchestrator.store.file import prepare_file
from orchestrator.store.migrate import upgrade
from orchestrator.store.rows import applied_job_values, run_values
from orchestrator.store.tables import jobs, runs

PAST = 20
COMMANDS: Mapping[str, Sequence[str]] = {
    "plan": ("plan",),
    "status JOB": ("status", "job-1", "-o", "json"),
    "apply, nothing to do": ("apply", "-y"),
}


def show(count: int, rounds: int) -> None:
    """Print a line for each command: its CPU with a past, without one, and the ratio."""
    with tempfile.TemporaryDirectory() as none, tempfile.TemporaryDirectory() as much:
        _fill(Path(none), count, past=0)
        _fill(Path(much), count, past=PAST)
        env = {**environment(), "HOME": os.environ["HOME"]}
        for name, words in COMMANDS.items():
            times: dict[str, list[float]] = {none: [], much: []}
            for _ in range(rounds):
                for folder, found in times.items():
                    found.append(cpu([*ORCHESTRATOR, *words], Path(folder), env))
            before, after = (statistics.median(found) for found in times.values())
            what = f"{name}, {count:,} jobs, {PAST} runs each: CPU"
            line(what, ms(after), f"one run each {ms(before)}", after / before, "<= 1.25, aim 1.1")


def _fill(folder: Path, count: int, *, past: int) -> None:
    """Declare `count` jobs that have succeeded, after `past` failed attempts and other specs each."""
    file = folder / "jobs.toml"
    file.write_text(_files(folder, count))
    declared = load([file], kinds(), {}).jobs.values()
    prepare_file(folder / "state.db")
    with Database(f"sqlite:///{folder}/state.db") as database:
        anyio.run(upgrade, database)
        rows = [run_values(run) for job in declared for run in _runs(job, past)]
        records = [applied_job_values(applied(job), PROJECT) for job in declared]

        def work(tx: Tx) -> None:
            tx.execute(sa.insert(jobs), records)
            for start in range(0, len(rows), CHUNK):
                tx.execute(sa.insert(runs), rows[start : start + CHUNK])

        database.write_now(work)


def _files(folder: Path, count: int) -> str:
    head = f'[orchestrator]\nproject = "{PROJECT}"\ndatabase = "sqlite:///{folder}/state.db"\nlisten = ""\n'
    spec = 'description = "A voice", language = "en", model_id = "sonic-3"'
    return head + "".join(
        f'[jobs.job-{number}]\nprovider = "{ACCOUNT}"\nspec = {{ {spec}, dataset = "ds-{number}" }}\n'
        for number in range(count)
    )


def _runs(job: Job, past: int) -> list[Run]:
    now = datetime.now(UTC) - timedelta(days=30)
    same, other = past // 2, past - past // 2
    works = [replace(job, fingerprint=f"{number}-{job.fingerprint}") for number in range(other)]
    attempts = [(work, 1) for work in works] + [(job, attempt) for attempt in range(1, same + 2)]
    made = []
    for number, (work, attempt) in enumerate(attempts):
        run_id = f"run_{job.name}_{number}"
        run = new_run(work, PROJECT, attempt, now + timedelta(hours=number), run_id)
        ends = Status.FAILED if work is job and attempt <= same else Status.SUCCEEDED
        ended = replace(run, status=ends, remote_id=run_id, sequence=3, due_at=None)
        made.append(replace(ended, submitted_at=run.created_at, finished_at=run.created_at))
    return made
