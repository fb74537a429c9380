"""An account in trouble: who is told, whom a person may hurry, and what the provider itself asked for."""

from datetime import timedelta
from pathlib import Path

import pytest
from conformance.drivers import KINDS
from structlog.testing import capture_logs

from orchestrator.app.documents import ProviderDocument
from orchestrator.app.kinds import kinds
from orchestrator.app.status import provider
from orchestrator.config.load import load
from orchestrator.store.owner import alive

from .watching import INTERVAL, Watching, of, watching

SECOND = timedelta(seconds=1)
WEEK = timedelta(days=7)


async def rest(watched: Watching) -> timedelta:
    """Return how long the account is left alone from now on."""
    found = (await watched.account()).next_poll_at
    assert found is not None
    return found - watched.clock.now


async def shown(watched: Watching) -> ProviderDocument:
    """Return what `status` says of the account."""
    return provider(await watched.account(), INTERVAL, watched.clock.now)


@of("cartesia")
async def test_looks_that_stay_out_raise_one_alarm(watched: Watching) -> None:
    await watched.seed(1)
    await watched.tick()
    watched.bench.fault("status", operation="list", code=503, times=None)
    with capture_logs() as log:
        for _ in range(4):
            await watched.tick(INTERVAL)
            watched.clock.now += await rest(watched)
        alarms = [line for line in log if line["event"] == "account.lags"]
        assert [(line["account"], line["log_level"]) for line in alarms] == [("cartesia", "error")]
        assert alarms[0]["poll_lag"] > 2 * INTERVAL.total_seconds()
        found = await shown(watched)
        assert found.state == "stale"
        assert isinstance(found.poll_lag, float)
        assert found.poll_lag > alarms[0]["poll_lag"]
        watched.bench.calm()
        await watched.tick()
        assert (await shown(watched)).poll_lag == 0
        watched.bench.fault("status", operation="list", code=503, times=None)
        for _ in range(4):
            await watched.tick(INTERVAL * 2)
    assert [line["event"] for line in log].count("account.lags") == 2


@of("oxen")
async def test_an_idle_account_has_missed_no_look(watched: Watching) -> None:
    made = await watched.seed(1)
    await watched.tick()
    watched.bench.set(made[0], "completed")
    await watched.tick()
    assert (await shown(watched)).state == "idle"
    watched.clock.forward(WEEK)
    await watched.watch(*watched.bench.seed(1, status="running"))
    found = await shown(watched)
    assert (found.state, found.poll_lag) == ("ok", 0)
    watched.bench.fault("status", operation="list", code=503)
    with capture_logs() as log:
        await watched.tick(SECOND)
    assert [line["event"] for line in log] == ["account.failed"]
    watched.clock.forward(INTERVAL * 4)  # of what was never seen whole the age counts from its submission
    assert (await shown(watched)).state == "stale"


@of("cartesia")
async def test_what_was_never_looked_at_grows_stale(watched: Watching) -> None:
    await watched.seed(1)
    assert (await shown(watched)).state == "ok"
    watched.clock.forward(INTERVAL * 4)
    found = await shown(watched)
    assert (found.state, found.confirmed_at, found.poll_lag) == ("stale", None, 90)


@of(*KINDS)
async def test_a_person_need_not_wait_for_a_back_off(watched: Watching) -> None:
    await watched.seed(1)
    watched.bench.fault("drop_before", operation="list", times=None)
    for _ in range(8):
        await watched.tick(INTERVAL * 20)
    assert await rest(watched) > 4 * INTERVAL
    watched.bench.calm()
    await watched.engine.prepare()  # a daemon that starts again is no person
    assert await watched.tick(SECOND) == 0
    await watched.store.accounts.reconsider("another")
    assert await watched.tick(SECOND) == 0
    await watched.store.accounts.reconsider(watched.kind)
    assert await watched.tick(SECOND) == 1
    assert (await watched.account()).failures == 0


@pytest.mark.parametrize("given", ["3000", "date"])
@of("cartesia", "oxen")
async def test_a_person_waits_for_what_the_provider_asked_for(watched: Watching, given: str) -> None:
    await watched.seed(1)
    watched.bench.fault("status", operation="list", code=429, retry_after=given)
    await watched.tick()
    asked = await rest(watched)
    assert asked > 50 * SECOND
    await watched.store.accounts.reconsider(watched.kind)
    assert await rest(watched) == asked
    await watched.engine.close()
    await watched.store.leases.end(alive)  # as another process begins
    await watched.store.accounts.reconsider(watched.kind)
    assert await watched.tick(SECOND) == 0
    assert await watched.tick(asked) == 1


@of("cohere")
async def test_what_the_provider_asked_for_is_waited_for_beside_the_back_off(watched: Watching) -> None:
    await watched.seed(1)
    watched.bench.fault("status", operation="list", code=503, times=None, retry_after="40")
    for _ in range(9):
        await watched.tick(INTERVAL * 20)
    assert await rest(watched) > 400 * SECOND
    await watched.store.accounts.reconsider(watched.kind)
    assert await rest(watched) == 40 * SECOND


@of("cloudflare")
async def test_a_spent_quota_puts_the_next_look_off(watched: Watching) -> None:
    await watched.seed(1)
    watched.bench.fault("quota", operation="list", seconds=290)
    await watched.tick()
    assert 280 * SECOND < await rest(watched) <= 290 * SECOND
    found = await shown(watched)
    assert (found.state, found.reason) == ("ok", None)
    watched.bench.fault("quota", operation="list", seconds=290, left=1)
    await watched.engine.close()  # its clock is not ours: the real minutes are not waited for
    await watched.tick(290 * SECOND)
    assert await rest(watched) == INTERVAL


@of("cartesia")
async def test_a_refusal_that_says_how_long_is_heeded(watched: Watching) -> None:
    await watched.seed(1)
    watched.bench.fault("status", operation="list", code=403, retry_after="1200")
    await watched.tick()
    assert await rest(watched) == 1200 * SECOND


async def test_a_table_that_was_mended_is_tried_at_once(url: str, tmp_path: Path, migrated: Path) -> None:
    async with watching("cohere", url, tmp_path, migrated) as watched:
        await watched.seed(1)
        file = tmp_path / "jobs.toml"
        good = file.read_text()
        file.write_text(good.replace("/cohere", "/nowhere"))
        await watched.engine.replace(load([file], kinds(), {}))
        for _ in range(8):
            assert await watched.tick(INTERVAL * 20) == 0
        assert (await watched.account()).failures == 8
        file.write_text(good)
        await watched.engine.replace(load([file], kinds(), {}))
        assert await watched.tick(SECOND) == 1
        assert (await watched.account()).failures == 0


async def test_an_account_of_another_kind_is_shown_as_such(url: str, tmp_path: Path, migrated: Path) -> None:
    async with watching("cohere", url, tmp_path, migrated) as watched:
        await watched.store.accounts.declare({"cohere": "cartesia"})
        assert (await watched.account()).kind == "cartesia"
        await watched.engine.prepare()
        assert (await watched.account()).kind == "cohere"
