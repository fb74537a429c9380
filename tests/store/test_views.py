"""What people ask."""

import pytest
from core.make import NOW, a_job, a_record, a_run

from orchestrator.core.event import Event
from orchestrator.core.run import Reason, Status
from orchestrator.core.transition import finish
from orchestrator.store.store import Store

from .make import HOUR, ROUTING, many, put


async def test_a_job_stands_by_the_latest_attempt_at_what_it_asks_for(store: Store) -> None:
    old, new, bare = a_job("a"), a_job("a", value=1), a_job("bare")
    await put(
        store,
        a_run(old, attempt=1, status=Status.SUCCEEDED, id="old"),
        a_run(new, attempt=2, status=Status.RUNNING, id="second"),
        a_run(new, attempt=1, status=Status.FAILED, id="first"),
        a_run(a_job("a", account="oxen", value=1), id="elsewhere"),
        records=[a_record(new), a_record(bare)],
    )
    found = {each.record.name: each.run and each.run.id for each in await store.views.standings()}
    assert found == {"a": "second", "bare": None}
    assert [each.record.name for each in await store.views.standings(["bare", "unknown"])] == ["bare"]
    await put(store, records=[a_record(old)])
    (standing,) = await store.views.standings(["a"])
    assert standing.run is not None
    assert standing.run.id == "old"
    assert {run.id for run in await store.views.history("a")} == {"old", "second", "first", "elsewhere"}


async def test_moving_leaves_out_what_waits_for_a_person(store: Store) -> None:
    await put(
        store,
        *(a_run(a_job(status), status=status) for status in Status if status is not Status.IN_DOUBT),
        *(a_run(a_job(reason), status=Status.IN_DOUBT, reason=reason) for reason in Reason),
    )
    stuck = {Reason.PARKED, Reason.CONFLICT}
    assert sum((await store.views.moving()).values()) == 4 + len(set(Reason) - stuck)


async def test_a_doubt_without_a_reason_counts_as_moving(store: Store) -> None:
    await put(store, a_run(status=Status.IN_DOUBT))
    assert sum((await store.views.moving()).values()) == 1


@pytest.mark.parametrize("job", [None, "job-001"])
async def test_events_are_read_in_order_page_by_page(store: Store, job: str | None) -> None:
    added = many(3, status=Status.QUEUED)
    await put(store, *added)
    for status in (Status.RUNNING, Status.FAILED):
        for run in await store.work.open_runs():
            await store.work.commit([finish(run, NOW + HOUR, status=status)], ROUTING)
    whole = await store.views.events(job=job)
    assert [event.id for event in whole] == ([1, 2, 3, 4, 5, 6] if job is None else [2, 5])
    assert await store.views.events(job=job, most=1) == whole[-1:]
    paged: list[Event] = []
    seen = 0
    while page := await store.views.events(job=job, after=seen, most=2):
        paged += page
        seen = page[-1].id or 0
    assert paged == whole
    event = whole[-1]
    assert (event.type, event.status, event.previous_status) == ("job.failed", "failed", "running")
    assert (event.timestamp, event.sequence) == (NOW + HOUR, 2)
