"""What a poll asks of the open runs as a whole, on both databases."""

from dataclasses import replace
from datetime import timedelta

from core.make import NOW, a_job, a_run

from orchestrator.core.cadence import Usual
from orchestrator.core.run import Run, Status
from orchestrator.store.store import Store

from .make import ACCOUNT, HOUR, Clock, many, put

MINUTE = timedelta(minutes=1)


def of(base: str, run: Run) -> Run:
    return replace(run, spec={"model_id": base, "settings": {"base_model": {"base_type": base}}})


async def test_the_open_runs_with_their_last_word(store: Store) -> None:
    queued, running, missed = many(3, status=Status.QUEUED)
    running = replace(running, status=Status.RUNNING, provider_status="training")
    missed = replace(missed, provider_status="training", looks=1)
    done = many(4, status=Status.SUCCEEDED)[3]
    other = a_run(a_job("other", account="oxen"), status=Status.RUNNING)
    await put(store, queued, running, missed, done, other, a_run(a_job("pending")))
    watch = await store.watch.open(ACCOUNT)
    assert watch.words == {
        queued.remote_id: None,
        running.remote_id: "training",
        missed.remote_id: "training",
    }
    assert watch.missed == {missed.remote_id}
    assert watch.now == NOW
    assert (await store.watch.open("cohere")).words == {}


async def test_more_ids_than_one_statement_takes(store: Store) -> None:
    run = a_run(status=Status.RUNNING)
    await put(store, run)
    now, found = await store.watch.bound(ACCOUNT, [*map(str, range(1200)), run.remote_id or ""])
    assert (now, found) == (NOW, {run.remote_id: run})
    assert (await store.watch.bound(ACCOUNT, []))[1] == {}
    assert await store.watch.by_ids([run.id, "unknown"]) == [run]


async def test_how_long_the_latest_successes_took(store: Store) -> None:
    ended = many(4, status=Status.SUCCEEDED, submitted_at=NOW - 3 * HOUR)
    took = [replace(of("sonic-3", run), finished_at=NOW - n * HOUR) for n, run in enumerate(ended[:2])]
    failed = replace(of("sonic-3", ended[2]), status=Status.FAILED, finished_at=NOW)
    nameless = replace(ended[3], finished_at=NOW)
    await put(store, *took, failed, nameless)
    expected = {"sonic-3": [3 * HOUR, 2 * HOUR], "": [3 * HOUR]}
    assert await store.watch.lengths(ACCOUNT, "model_id") == expected
    assert await store.watch.lengths(ACCOUNT, "settings.base_model.base_type") == expected
    assert set(await store.watch.lengths(ACCOUNT, "")) == {""}


async def test_which_account_has_a_run_near_its_end(store: Store, clock: Clock) -> None:
    usual = {"sonic-3": Usual(begins=2 * HOUR, ends=3 * HOUR, longest=3 * HOUR)}

    async def near(base: str = "model_id", *, within: timedelta = MINUTE) -> bool:
        return await store.watch.near_end(ACCOUNT, base, usual, within=within)

    await put(store, of("sonic-3", a_run(status=Status.RUNNING)))
    await put(store, of("sonic-2", a_run(a_job("old"), status=Status.RUNNING, submitted_at=NOW - 2 * HOUR)))
    assert not await near()
    assert await near(within=2 * HOUR)
    clock.forward(2 * HOUR - MINUTE)
    assert await near()
    assert await near("settings.base_model.base_type")
    assert not await store.watch.near_end(ACCOUNT, "model_id", {}, within=HOUR)
    clock.forward(HOUR + 2 * MINUTE)
    assert not await near()


async def test_who_is_old_and_when_the_next_one_will_be(store: Store) -> None:
    old, told, young, younger = many(4, status=Status.RUNNING)
    old = of("sonic-3", replace(old, submitted_at=NOW - 2 * HOUR))
    told = replace(told, submitted_at=NOW - 2 * HOUR, overdue=True)
    young = replace(young, submitted_at=NOW - MINUTE)
    await put(store, old, told, young, younger)
    found, later = await store.watch.aging(ACCOUNT, "model_id", before=NOW - HOUR)
    assert [(one.id, one.job, one.submitted_at, one.base) for one in found] == [
        (old.id, old.job, NOW - 2 * HOUR, "sonic-3")
    ]
    assert later == NOW - MINUTE
    everybody, nobody = await store.watch.aging(ACCOUNT, "model_id", before=NOW)
    assert (len(everybody), nobody) == (3, None)
