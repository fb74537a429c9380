"""What is long over is forgotten, and never what was bought."""

from dataclasses import replace
from datetime import timedelta

import sqlalchemy as sa
from core.make import NOW, a_record, a_run

from orchestrator.core.delivery import DeliveryState
from orchestrator.core.run import Status
from orchestrator.core.transition import finish
from orchestrator.store.retention import KEPT_DEAD, KEPT_DELIVERED
from orchestrator.store.store import Store
from orchestrator.store.tables import events, runs

from .hooked import GONE, TAKEN, settle, states, take, tell
from .make import ROUTING, Clock, heard, put, rows, stored

KEEP = timedelta(days=400)


async def test_what_is_old_is_forgotten_in_batches(store: Store, clock: Clock) -> None:
    await tell(store, "a", times=3)
    await store.replay.drop("team")
    assert await store.retention.prune(KEEP) == 0
    clock.forward(KEPT_DELIVERED + timedelta(seconds=1))
    assert [await store.retention.prune(KEEP, 2) for _ in range(3)] == [2, 1, 0]
    assert len(await store.views.events()) == 3


async def test_the_dead_are_kept_longer_and_what_waits_for_ever(store: Store, clock: Clock) -> None:
    await tell(store, "a", "b", "c")
    first, second, _ = await take(store)
    await settle(store, TAKEN, first)
    await settle(store, GONE, second)
    clock.forward(KEPT_DELIVERED + timedelta(seconds=1))
    assert await store.retention.prune(KEEP) == 1
    clock.forward(KEPT_DEAD)
    assert await store.retention.prune(KEEP) == 1
    assert await states(store) == [DeliveryState.PENDING]


async def test_only_details_of_what_was_superseded_are_forgotten(store: Store, clock: Clock) -> None:
    job, edited = heard("a"), replace(heard("a"), fingerprint="of the edited spec")
    first = a_run(job, id="first", marker="m1", remote_id="r1", status=Status.QUEUED)
    again = a_run(job, id="again", marker="m2", remote_id="r2", attempt=2, status=Status.QUEUED)
    latest = a_run(edited, id="latest", marker="m3", remote_id="r3", status=Status.QUEUED)
    await put(store, first, again, latest, records=[a_record(edited)])
    for run in (first, latest):
        moved = finish(run, NOW, status=Status.SUCCEEDED, result={"model": "m"})
        await store.work.commit([moved], ROUTING)
    while claimed := await take(store):
        await settle(store, TAKEN, *claimed)
    sent = sa.update(runs).values(request={"dataset": "what was sent"})
    await store.database.write(lambda tx: tx.execute(sent).close())
    clock.now = NOW + KEEP
    while await store.retention.prune(KEEP):
        pass
    assert (await stored(store, first)).spec == job.spec
    clock.forward(timedelta(seconds=1))
    while await store.retention.prune(KEEP):
        pass
    before, after = first, await stored(store, first)
    assert (after.spec, after.steps, after.message) == ({}, {}, None)
    kept = ("id", "job", "account", "fingerprint", "attempt", "marker", "remote_id")
    assert all(getattr(after, name) == getattr(before, name) for name in kept)
    assert (after.status, after.result) == (Status.SUCCEEDED, {"model": "m"})
    assert {row["id"] for row in await rows(store.database, runs) if row["request"]} == {"again", "latest"}
    assert (await stored(store, again)).spec == job.spec  # it is open
    assert (await stored(store, latest)).spec == edited.spec  # the job stands by it
    assert {row["run_id"] for row in await rows(store.database, events)} == {"latest"}
    assert await store.retention.prune(KEEP) == 0


async def test_what_was_bought_before_is_known_after_its_details_are_forgotten(
    store: Store, clock: Clock
) -> None:
    job, edited = heard("a"), replace(heard("a"), fingerprint="of the edited spec")
    await put(store, a_run(job, status=Status.SUCCEEDED), records=[a_record(edited)])
    clock.forward(KEEP * 2)
    assert await store.retention.prune(KEEP) == 1
    _, known = await store.declared.state([job])
    assert [(run.fingerprint, run.status) for run in known] == [(job.fingerprint, Status.SUCCEEDED)]
