"""The one transaction that applies a plan."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import anyio
import pytest
import sqlalchemy as sa
from core.make import NOW, PROJECT, a_job, a_record, a_run, known

from orchestrator.core.changeset import Changeset, make_changeset
from orchestrator.core.job import Job, OnChange, OnRemove, Policy
from orchestrator.core.plan import AppliedJob, RunSummary, plan
from orchestrator.core.run import Run, Status
from orchestrator.errors import StoreError
from orchestrator.store.commit import make_id
from orchestrator.store.database import Database
from orchestrator.store.store import Store
from orchestrator.store.tables import events, jobs, runs

from .make import HOUR, ROUTING, heard, many, put, rows, statuses, stored


async def apply(store: Store, *declared: Job) -> Changeset:
    def decide(records: Mapping[str, AppliedJob], known: Sequence[RunSummary], now: datetime) -> Changeset:
        found = plan(declared, records, known)
        return make_changeset(
            found, known, project=PROJECT, now=now, make_id=lambda: make_id("run"), steps={"oxen": ["run"]}
        )

    return await store.declared.reconcile(decide, declared, ROUTING)


async def test_what_was_applied_is_remembered_and_applying_it_again_writes_nothing(store: Store) -> None:
    job = replace(a_job("sweep[lora.rank=8]", account="oxen", hooks=("a", "b")))
    job = replace(
        job,
        policy=replace(job.policy, overdue_after=HOUR, on_change=OnChange.REFUSE, on_remove=OnRemove.CANCEL),
    )
    (run,) = (await apply(store, job)).runs
    records, found = await store.declared.state([job])
    assert records == {job.name: a_record(job)}
    assert found == [known(run)]
    assert await stored(store, run) == run
    before = [await rows(store.database, table) for table in (jobs, runs, events)]
    assert (await apply(store, job)).plan.empty
    assert [await rows(store.database, table) for table in (jobs, runs, events)] == before
    assert await store.declared.specs([run.id, "unknown"]) == {run.id: job.spec}


async def test_a_policy_of_an_older_release_has_defaults(store: Store, database: Database) -> None:
    await apply(store, a_job())
    await database.write(lambda tx: tx.execute(sa.update(jobs).values(policy={})))
    records, _ = await store.declared.state([])
    assert records["narrator"].policy == Policy()


async def test_two_that_apply_at_once_buy_once(store: Store, peer: Store) -> None:
    async with anyio.create_task_group() as tasks:
        for each in (store, peer) * 3:
            tasks.start_soon(apply, each, a_job("a"), a_job("b"))
    assert len(await rows(store.database, runs)) == 2


async def test_an_apply_is_written_whole_or_not_at_all(store: Store) -> None:
    await apply(store, a_job("a"))
    before = await rows(store.database, jobs), await rows(store.database, runs)
    (first,) = await store.work.open_runs()
    twice = replace(first, id="another")
    with pytest.raises(StoreError, match="is there already"):
        await put(store, a_run(a_job("b")), twice, records=[a_record(a_job("b"))])
    assert (await rows(store.database, jobs), await rows(store.database, runs)) == before


@pytest.mark.parametrize(
    "changes",
    [
        {"attempt": 1, "marker": "other", "remote_id": None},
        {"attempt": 2, "remote_id": None},
        {"attempt": 2, "marker": "other"},
    ],
    ids=["attempt", "marker", "remote id"],
)
async def test_the_same_attempt_is_never_stored_twice(store: Store, changes: dict[str, Any]) -> None:
    first = a_run(status=Status.RUNNING)
    await put(store, first)
    with pytest.raises(StoreError, match="is there already"):
        await put(store, replace(first, id="another", **changes))
    await put(store, replace(first, id="another", attempt=2, marker="other", remote_id=None))


async def test_a_replacement_ends_what_was_never_sent(store: Store) -> None:
    old = heard("a", on_change=OnChange.REPLACE)
    (first,) = (await apply(store, old)).runs
    (second,) = (await apply(store, heard("a", value=1, on_change=OnChange.REPLACE))).runs
    assert (await stored(store, first)).status is Status.CANCELLED
    assert second.after is None
    assert [event.type for event in await store.views.events()] == ["job.cancelled"]
    # It was replaced in the same transaction, so that its end is nobody's news.
    assert await store.outbox.log() == []


async def test_what_left_the_files_is_unmanaged_and_comes_back(store: Store) -> None:
    job = a_job("a", on_remove=OnRemove.CANCEL)
    run, _ = (await apply(store, job, a_job("b", value=1))).runs
    await apply(store, a_job("b", value=1))
    standings = {each.record.name: each.managed for each in await store.views.standings()}
    assert standings == {"a": False, "b": True}
    assert (await stored(store, run)).status is Status.CANCELLED
    assert [each.id for each in await store.views.unclaimed()] == [run.id]
    assert (await apply(store, job, a_job("b", value=1))).runs == ()
    assert all(each.managed for each in await store.views.standings())
    assert await store.views.unclaimed() == []


async def test_cancellations_and_commits_never_block_each_other(store: Store, peer: Store) -> None:
    added = many(30)
    await put(store, *added)

    async def cancel(each: Store, part: Sequence[Run]) -> None:
        for start in range(0, len(part), 5):
            await put(each, cancels=[run.id for run in part[start : start + 5]])

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(cancel, store, added)
        tasks.start_soon(cancel, peer, added[::-1])
        tasks.start_soon(_end, peer, added[10:20])
    assert set(await statuses(store)) == {Status.CANCELLED}


async def _end(store: Store, part: Sequence[Run]) -> None:
    for run in part:
        await store.decisions.cancel(run, "cancel", ROUTING)


async def test_a_whole_manifest_of_thousands_fits(store: Store) -> None:
    declared = [a_job(f"job-{number}") for number in range(1200)]
    assert len((await apply(store, *declared)).runs) == 1200
    assert (await apply(store, *declared)).plan.empty
    assert len((await apply(store)).unmanaged) == 1200
    assert not any(each.managed for each in await store.views.standings())
    every = [run.id for run in await store.work.open_runs()]
    assert len(await store.declared.specs(every)) == 1200


async def test_a_decision_that_fails_writes_nothing(store: Store) -> None:
    def decide(*_: object) -> Changeset:
        raise LookupError

    with pytest.raises(LookupError):
        await store.declared.reconcile(decide, [], ROUTING)
    assert await store.declared.state([]) == ({}, [])
    await put(store, records=[a_record(a_job())])
    records, _ = await store.declared.state([])
    assert list(records) == ["narrator"]


@pytest.mark.parametrize("seed", range(4))
async def test_a_plan_needs_no_more_than_is_read_for_it(store: Store, seed: int) -> None:
    """The runs that are read give the plan that all of them would."""
    dice = random.Random(seed)  # noqa: S311 - cases, not secrets
    made: list[Run] = []
    recorded: dict[str, AppliedJob] = {}
    for name in "abcdef":
        for version in "123"[: dice.randrange(4)]:
            job = replace(a_job(name), fingerprint=f"f{dice.choice(name + 'ax')}{version}")
            recorded[name] = a_record(job)
            for attempt in range(1, dice.randrange(1, 4)):
                run = a_run(job, id=f"r{len(made)}", attempt=attempt, status=dice.choice(list(Status)))
                made.append(replace(run, marker=run.id, created_at=NOW + len(made) * HOUR))
    await put(store, *dice.sample(made, len(made)), records=list(recorded.values()))
    every = list(map(known, made))
    for _ in range(20):
        declared = [
            replace(a_job(name), fingerprint=f"f{dice.choice(name + 'ax')}{dice.choice('123')}")
            for name in dice.sample("abcdefgh", dice.randrange(9))
        ]
        records, found = await store.declared.state(declared)
        assert plan(declared, records, found) == plan(declared, records, every)


async def test_what_is_over_is_not_read(store: Store) -> None:
    job = a_job()
    await put(store, *(a_run(job, id=f"r{n}", marker=f"m{n}", attempt=n) for n in range(1, 21)))
    await apply(store, job)
    records, found = await store.declared.state([job])
    assert ([run.attempt for run in found], list(records)) == ([20], [job.name])
