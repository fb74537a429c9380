"""Polling by the books: requests by the sandbox's ledger, writes by SQLite's own count."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import anyio
import pytest
from conformance.drivers import FAST, KINDS

from orchestrator.core.changeset import Changeset
from orchestrator.core.plan import Plan
from orchestrator.core.run import Run, Status
from orchestrator.sandbox import spawn
from orchestrator.store.claim import LEASE

from .watching import DONE, FAILED, INTERVAL, WORDS, Watching, of, watching

PAGED = [kind for kind in KINDS if kind != "cloudflare"]
SECOND = timedelta(seconds=1)
HOUR = timedelta(hours=1)


@of(*KINDS)
async def test_a_tick_lists_down_to_the_last_open_run_and_no_further(watched: Watching) -> None:
    made = await watched.seed(230, watched=[225, 120])
    oldest_first = made.index(watched.ids[1])
    assert await watched.tick() == {"cloudflare": 1}.get(watched.kind, 2)
    newest_place = len(made) - oldest_first
    assert 100 < newest_place <= 200  # on the second page, of three
    assert set(watched.asked[-2:]) == {"list"}
    assert (await watched.account()).confirmed_at == watched.clock.now


@of(*PAGED)
async def test_single_reads_where_they_are_fewer(watched: Watching) -> None:
    await watched.seed(230, watched=[2, 100])
    assert await watched.tick() == 3
    assert await watched.tick() == 2
    assert watched.asked[-2:] == ["get", "get"]
    watched.bench.set(watched.ids[0], FAILED[watched.kind])
    await watched.tick()
    assert (await watched.statuses()).count("failed") == 1
    assert await watched.tick() == 1  # one open run of two pages' depth
    newcomer = watched.bench.seed(1, status=WORDS[watched.kind])
    await watched.watch(*newcomer)
    # Where the newest come first it stands on the first page: two pages, or two reads, are the same.
    assert await watched.tick() == 2


@of(*KINDS)
async def test_an_account_with_nothing_open_is_not_asked(watched: Watching) -> None:
    watched.bench.seed(3)
    assert await watched.tick() == 0
    assert await watched.engine.round(watched.kind) is None
    assert (await watched.account()).confirmed_at is None


@of(*KINDS)
async def test_a_quiet_tick_writes_its_account_and_nothing_else(watched: Watching) -> None:
    await watched.seed(150)
    await watched.tick()
    before, commits = await watched.rows(), watched.commits
    for _ in range(5):
        await watched.tick()
    assert await watched.rows() == before
    assert watched.commits == commits + 5
    assert await watched.told() == []
    assert (await watched.account()).confirmed_at == watched.clock.now


@of("oxen", "cohere")
async def test_one_transaction_for_what_changed_of_a_page(watched: Watching) -> None:
    await watched.seed(250)
    await watched.tick()
    for remote_id in watched.ids[::10]:
        watched.bench.set(remote_id, FAILED[watched.kind])
    commits = watched.commits
    await watched.tick()
    assert watched.commits == commits + 3 + 1
    assert (await watched.statuses()).count("failed") == 25
    assert await watched.told() == ["job.failed"] * 25


@of(*PAGED)
async def test_what_the_listing_shows_is_what_is_told(watched: Watching) -> None:
    await watched.seed(3)
    for remote_id, word in zip(
        watched.ids, (DONE[watched.kind], FAILED[watched.kind], "simmering"), strict=True
    ):
        watched.bench.set(remote_id, word)
    await watched.tick()
    assert await watched.statuses() == ["succeeded", "failed", "running"]
    assert (await watched.rows())[2]["provider_status"] == "simmering"
    assert sorted(await watched.told()) == ["job.failed", "job.succeeded"]
    assert all(row["result"] for row in await watched.rows() if row["status"] == "succeeded")


@of("cartesia")
async def test_a_read_that_fails_holds_back_its_own_run_alone(watched: Watching) -> None:
    made = await watched.seed(3)
    watched.bench.set(made[0], "failed")
    for remote_id in made[1:]:
        watched.bench.set(remote_id, "completed")
    watched.bench.fault("status", operation="voices", code=500, times=None)
    assert await watched.tick() == 2 + 1  # the listing, the reason, and no second try of what is silent
    assert await watched.statuses() == ["failed", "running", "running"]
    account = await watched.account()
    assert (account.failures, account.confirmed_at) == (0, watched.clock.now)
    watched.bench.calm()
    await watched.tick()
    assert await watched.statuses() == ["failed", "succeeded", "succeeded"]


@of(*KINDS)
async def test_lost_only_after_two_complete_listings_and_a_read(watched: Watching) -> None:
    made = await watched.seed(2)
    await watched.tick()
    watched.bench._admin.post("/_sandbox/remove", json={"provider": watched.kind, "id": made[0]})
    await watched.tick()
    assert "lost" not in await watched.statuses()
    watched.bench.fault("status", operation="list", code=503)
    await watched.tick()
    assert [row["looks"] for row in await watched.rows()] == [1, 0]
    if watched.kind == "cloudflare":  # nothing can be read there, and its listing may lag
        await watched.tick(INTERVAL * 2)
        assert "lost" not in await watched.statuses()
        watched.clock.forward(HOUR)
    await watched.tick(INTERVAL * 2)
    assert await watched.statuses() == ["lost", "running"]
    assert await watched.told() == ["job.lost"]


@of("oxen")
async def test_what_a_read_still_finds_is_not_lost(watched: Watching) -> None:
    made = await watched.seed(101)  # the first listed page ends before the oldest one
    watched.bench.fault("shrinking", times=None)
    for _ in range(3):
        await watched.tick()
    assert set(await watched.statuses()) == {"running"}
    watched.bench.calm()
    await watched.tick()
    assert {row["looks"] for row in await watched.rows()} == {0}
    assert await watched.told() == []
    assert watched.ids == made


async def test_overdue_is_told_once(url: str, tmp_path: Path, migrated: Path) -> None:
    lines = f'[jobs.job-0]\nprovider = "cohere"\noverdue_after = "10m"\n{COHERE_SPEC}'
    async with watching("cohere", url, tmp_path, migrated, lines=lines) as watched:
        await watched.seed(2)
        await watched.tick()
        for _ in range(2):
            await watched.tick(timedelta(minutes=4))
        assert await watched.told() == []
        for _ in range(3):
            await watched.tick(timedelta(minutes=4))
        assert await watched.told() == ["job.overdue"]


COHERE_SPEC = (
    '[jobs.job-0.spec.settings]\nbase_model = { base_type = "BASE_TYPE_CHAT" }\ndataset_id = "ds-1"\n'
)


async def history(watched: Watching, hours: list[float]) -> None:
    """Let runs of the same base model have taken so long."""
    ended = watched.clock.now - timedelta(days=1)
    made = [
        replace(
            watched.a_run(1000 + number, f"old-{number}"),
            status=Status.SUCCEEDED,
            submitted_at=ended - length * HOUR,
            finished_at=ended,
            result={"model": "m"},
        )
        for number, length in enumerate(hours)
    ]
    await watched.store.declared.reconcile(writes(made), [], watched.engine.routing)


def writes(made: Sequence[Run]) -> Callable[..., Changeset]:
    return lambda *_: Changeset(plan=Plan(changes=()), runs=tuple(made))


@of(*PAGED)
async def test_near_the_usual_end_it_looks_four_times_as_often(watched: Watching) -> None:
    await history(watched, [2.9, 3.0, 3.0, 3.1, 3.0])
    await watched.seed(1)
    assert await gap(watched) == INTERVAL
    watched.clock.forward(timedelta(hours=2.5))
    assert await gap(watched) == INTERVAL
    watched.clock.forward(timedelta(hours=0.5))
    assert await gap(watched) == INTERVAL / 4
    assert (await watched.account()).interval == INTERVAL / 4
    watched.clock.forward(timedelta(hours=0.5))
    assert await gap(watched) == INTERVAL
    assert await watched.told() == []


@of("cartesia")
async def test_far_outside_the_history_is_overdue(watched: Watching) -> None:
    await history(watched, [1.0] * 5)
    await watched.seed(1)
    await watched.tick()
    watched.clock.forward(timedelta(hours=2.9))
    await watched.tick()
    assert await watched.told() == []
    for _ in range(2):
        watched.clock.forward(timedelta(hours=0.2))
        await watched.tick()
    assert await watched.told() == ["job.overdue"]


async def gap(watched: Watching) -> timedelta:
    """Go round, and return how long it is until the next look."""
    await watched.tick()
    found = (await watched.account()).next_poll_at
    assert found is not None
    return found - watched.clock.now


async def test_looking_takes_half_of_the_budget_at_most(url: str, tmp_path: Path, migrated: Path) -> None:
    async with watching("oxen", url, tmp_path, migrated) as watched:
        await watched.seed(250)
        worker = await watched.engine.worker("oxen")
        worker.options = worker.options.model_copy(update={"requests_per_second": 0.1})
        assert await gap(watched) == timedelta(seconds=60)  # three pages at one in ten seconds


@of("cartesia", "cloudflare")
async def test_a_refused_credential_pauses_once_and_resumes_once(watched: Watching) -> None:
    await watched.seed(2)
    await watched.tick()
    confirmed = (await watched.account()).confirmed_at
    watched.bench.fault("status", code=401, times=None)
    waits = []
    for _ in range(4):
        await watched.tick()
        account = await watched.account()
        assert account.next_poll_at is not None
        waits.append(account.next_poll_at - watched.clock.now)
        watched.clock.now = account.next_poll_at
    assert waits == [timedelta(seconds=30 * 2**number) for number in range(4)]
    assert await watched.told() == ["provider.paused"]
    assert account.paused
    assert account.confirmed_at == confirmed
    assert set(await watched.statuses()) == {"running"}
    watched.bench.calm()
    await watched.tick()
    assert await watched.told() == ["provider.paused", "provider.resumed"]
    account = await watched.account()
    assert (account.paused, account.failures, account.confirmed_at) == (None, 0, watched.clock.now)


@pytest.mark.parametrize(("given", "least"), [("77", 77), ("date", 59), ("soon", 1)])
@of("cohere")
async def test_what_the_provider_asks_for_is_waited_for(watched: Watching, given: str, least: int) -> None:
    await watched.seed(1)
    watched.bench.fault("status", operation="list", code=429, retry_after=given)
    assert least * SECOND <= await gap(watched) <= max(least + 2, 2) * SECOND
    account = await watched.account()
    assert account.failures == 1
    assert await watched.statuses() == ["running"]
    await watched.engine.close()  # as a restart would
    assert await watched.tick(timedelta()) == 0  # the breaker is open
    await watched.tick(HOUR)
    assert (await watched.account()).failures == 0


@of("oxen")
async def test_a_failing_account_is_asked_ever_less(watched: Watching) -> None:
    await watched.seed(1)
    watched.bench.fault("status", operation="list", code=503, times=None)
    waits = []
    for _ in range(12):
        waits.append(await gap(watched))
        watched.clock.forward(waits[-1])
    assert waits[:4] == [timedelta(seconds=2**number) for number in range(1, 5)]
    assert waits[-1] == timedelta(minutes=10)
    assert await watched.statuses() == ["running"]


async def test_one_account_that_hangs_delays_no_other(url: str, tmp_path: Path, migrated: Path) -> None:
    second = f'[providers.calm]\nkind = "cohere"\nbase_url = "{url}/cohere"\n'
    key = {"CO_API_KEY": "calm:canary-key-0123456789"}
    async with watching("oxen", url, tmp_path, migrated, lines=second, env=key) as watched:
        await watched.seed(1)
        (calm,) = watched.bench._admin.post(
            "/_sandbox/seed", json={"provider": "cohere", "account": "calm", "status": "STATUS_READY"}
        ).json()["ids"]
        other = replace(watched.a_run(7, calm), account="calm", kind="cohere", id="run-calm")
        await watched.store.declared.reconcile(writes([other]), [], watched.engine.routing)
        watched.bench.fault("hang_before", operation="list")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(watched.engine.round, "oxen")
            await watched.engine.round("calm")
            assert {row["account"]: row["status"] for row in await watched.rows()} == {
                "calm": "succeeded",
                "oxen": "running",
            }
            tasks.cancel_scope.cancel()  # it hangs to this moment


async def test_another_daemon_takes_over_when_the_claim_ends(
    url: str, tmp_path: Path, migrated: Path
) -> None:
    async with watching("oxen", url, tmp_path, migrated, owner="mine") as mine:
        await mine.seed(1)
        await mine.tick()
        async with watching("oxen", url, tmp_path, migrated, owner="theirs") as theirs:
            theirs.clock.now = mine.clock.now
            assert await theirs.tick() == 0
            due_work = await theirs.store.due_work.read("oxen")
            assert due_work.poll == mine.clock.now + INTERVAL
            assert await mine.tick() == 1
            await mine.store.leases.keep()
            theirs.clock.now = mine.clock.now
            assert await theirs.tick(LEASE) == 0
            assert await theirs.tick(INTERVAL) == 1
            mine.clock.now = theirs.clock.now
            await mine.store.leases.keep()
            assert await mine.tick() == 0
            assert (await mine.account()).owner == "theirs"
            await theirs.engine.close()
            assert await mine.tick() == 1


async def test_what_is_due_goes_before_the_next_page(tmp_path: Path, migrated: Path) -> None:
    with spawn(None, replace(FAST, latency_ms=150)) as slow:
        async with watching("oxen", slow, tmp_path, migrated) as watched:
            await watched.seed(350)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(watched.tick)
                while "list" not in watched.asked:
                    await anyio.lowlevel.checkpoint()
                run = (await watched.store.work.open_runs())[0]
                await watched.store.decisions.cancel(run, "cancel", watched.engine.routing)
            operations = watched.asked
    assert operations.count("list") == 4
    assert operations.count("cancel") == 1
    assert operations[-1] == "list"
