"""Every installed driver against its emulation: what it sends, how it reads, that it pages to the end."""

import os
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.core.run import Status
from orchestrator.errors import Denied, Missing, Rejected
from orchestrator.providers.registry import registry
from orchestrator.sandbox import Options, spawn

from .drivers import CASES, FAST, KEY, KINDS, Bench, opened


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with spawn(None, FAST) as address:
        yield address


@pytest.fixture(params=KINDS)
async def bench(request: pytest.FixtureRequest, url: str, tmp_path: Path) -> AsyncIterator[Bench]:
    """One driver with an account of its own."""
    async with opened(request.param, url, tmp_path) as found:
        yield found


def test_the_suite_knows_every_driver() -> None:
    assert set(CASES) == set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_an_optimistic_fact_has_a_source(kind: str) -> None:
    facts = registry()[kind].facts
    stated = [
        facts.create_is_paid if not facts.create_is_paid.value else None,
        facts.has_cancel if facts.has_cancel.value else None,
        facts.marker_field if facts.marker_field.value is not None else None,
        facts.lag if facts.lag.value is not None else None,
        facts.newest_first if facts.newest_first.value else None,
    ]
    assert all(fact.source.startswith("https://") for fact in stated if fact is not None)
    assert registry()[kind].can("cancel") is facts.has_cancel.value


async def test_the_whole_path_is_within_the_specification(bench: Bench) -> None:
    provider = bench.provider
    made = await bench.create(bench.run("whole"))
    run = bench.run("whole", remote_id=made.remote_id)
    for name in provider.steps:
        assert await provider.step(name, run) is not None
    listed = await bench.listed()
    assert [one.remote_id for one in await provider.find(run, listed)] == bench.made() == [made.remote_id]
    if provider.can("get"):
        assert (await provider.get(made.remote_id)).remote_id == made.remote_id
    assert "model" in (await provider.result(made) or {})
    if provider.can("delete"):
        await provider.delete(made.remote_id)
        assert await bench.listed() == []
    outcomes = [entry["outcome"] for entry in bench.requests()]
    assert outcomes == ["accepted"] * len(outcomes)


async def test_a_step_repeated_is_done(bench: Bench) -> None:
    made = await bench.create(bench.run("twice"))
    run = bench.run("twice", remote_id=made.remote_id)
    for name in [name for name in bench.provider.steps for _ in range(2)]:
        last = await bench.provider.step(name, run)
    if bench.provider.steps:
        assert last is not None
        assert last.status is Status.SUCCEEDED
    assert bench.ledger()["paid"][bench.kind].count(made.remote_id) <= 1
    # Nobody says what a second `run` does, so that it is never asked for.
    assert [entry["operation"] for entry in bench.requests()].count("run") <= 1


async def test_a_repeated_asset_that_cloudflare_takes_again_is_done(tmp_path: Path) -> None:
    with spawn(None, Options(stage_seconds=0, cloudflare_repeat="accept")) as address:
        async with opened("cloudflare", address, tmp_path) as bench:
            made = await bench.create(bench.run("twice"))
            run = bench.run("twice", remote_id=made.remote_id)
            for name in [name for name in bench.provider.steps for _ in range(2)]:
                last = await bench.provider.step(name, run)
            assert last is not None
            assert last.status is Status.SUCCEEDED


async def test_the_marker_comes_back_or_the_fields_do(bench: Bench) -> None:
    run, other = bench.run("mine"), bench.run("other")
    made = await bench.create(run)
    listed = await bench.listed()
    field = bench.provider.facts.marker_field.value
    assert (listed[0].marker == run.marker) is (field is not None)
    assert [one.remote_id for one in await bench.provider.find(run, listed)] == [made.remote_id]
    if field is not None:
        assert not bench.provider.matches(other, listed[0])
        [sent] = bench.creations()
        assert sent[field].endswith(run.marker)


async def test_another_job_is_not_taken_for_it(bench: Bench) -> None:
    run = bench.run("mine")
    await bench.create(run)
    key, value = next((key, value) for key, value in run.spec.items() if key not in ("description", "public"))
    changed = {**value, "dataset_id": "ds-2"} if isinstance(value, dict) else f"{value}x"
    other = replace(run, spec={**run.spec, key if key != "language" else "dataset": changed})
    assert await bench.provider.find(other, await bench.listed()) == ()


async def test_it_pages_to_the_end(bench: Bench) -> None:
    seeded = bench.seed(250)
    assert sorted(one.remote_id for one in await bench.listed()) == sorted(seeded)


async def test_every_word_is_known_and_no_other(bench: Bench) -> None:
    [remote_id] = bench.seed(1)
    for word, status in {**bench.case.words, "simmering": None}.items():
        bench.set(remote_id, word)
        [listed] = await bench.listed()
        assert (listed.provider_status, listed.status) == (word, status)
        if bench.provider.can("get"):
            alone = await bench.provider.get(remote_id)
            assert (alone.provider_status, alone.status, alone.name) == (word, status, listed.name)
            assert listed.identity.items() <= alone.identity.items()
    shown = registry()[bench.kind].status_map.keys() - bench.case.words.keys()
    assert shown <= {"uploading", "ready"}, "a word that this suite does not try"


async def test_a_failure_has_its_reason(url: str, tmp_path: Path) -> None:
    async with opened("oxen", url, tmp_path) as bench:
        [remote_id] = bench.seed(1)
        bench.set(remote_id, "errored")
        assert (await bench.provider.get(remote_id)).message == "CUDA out of memory at step 3"


async def test_what_is_gone_is_missing(bench: Bench) -> None:
    if bench.provider.can("get"):
        with pytest.raises(Missing):
            await bench.provider.get("nothing-here")
    if bench.provider.can("delete"):
        with pytest.raises(Missing):
            await bench.provider.delete("nothing-here")


async def test_cancel_stops_it(bench: Bench) -> None:
    if not bench.provider.can("cancel"):
        pytest.skip("no cancel")
    [remote_id] = bench.seed(1)
    bench.set(remote_id, "running")
    await bench.provider.cancel(remote_id)
    assert (await bench.provider.get(remote_id)).status is Status.CANCELLED


@pytest.mark.parametrize("key", ["refuse-me", "forbid-me"])
@pytest.mark.parametrize("kind", KINDS)
async def test_a_refused_key_is_denied(url: str, tmp_path: Path, kind: str, key: str) -> None:
    async with opened(kind, url, tmp_path, key=key) as bench:
        with pytest.raises(Denied):
            await bench.listed()
        with pytest.raises(Denied):
            await bench.create(bench.run("denied"))


async def test_a_result_that_is_late_is_none(tmp_path: Path) -> None:
    with spawn(None, replace(FAST, stage_seconds=1000)) as address:
        async with opened("cartesia", address, tmp_path) as bench:
            made = await bench.create(bench.run("late"))
            assert await bench.provider.result(made) is None


async def test_a_file_that_changed_is_not_sent(url: str, tmp_path: Path) -> None:
    async with opened("cloudflare", url, tmp_path) as bench:
        made = await bench.create(bench.run("changed"))
        run = bench.run("changed", remote_id=made.remote_id)
        (tmp_path / "adapter_config.json").write_bytes(b"{}")
        with pytest.raises(Rejected, match="changed since it was planned"):
            await bench.provider.step("adapter_config.json", run)
        (tmp_path / "adapter_config.json").unlink()
        os.mkfifo(tmp_path / "adapter_config.json")
        with pytest.raises(Rejected, match="not a regular file"):
            await bench.provider.step("adapter_config.json", run)
        assert not any(entry["operation"] == "upload" for entry in bench.requests())


async def test_a_nested_secret_is_sent_and_kept_nowhere(url: str, tmp_path: Path) -> None:
    wandb = {"project": "p", "api_key": {"env": "WANDB_KEY"}}
    async with opened("cohere", url, tmp_path) as bench:
        spec = {"settings": {**bench.case.spec["settings"], "wandb": wandb}}
        provider = bench.provider
        provider.secrets = replace(provider.secrets, env={**provider.secrets.env, "WANDB_KEY": KEY})
        made = await bench.create(bench.run("wandb", spec=spec))
        assert KEY not in repr(made)
        assert KEY not in repr(await bench.listed())
        assert bench.ledger()["created"]["cohere"][-1]["settings"]["wandb"]["api_key"] == "***"


@pytest.mark.parametrize("shape", ["string", "object"])
async def test_a_draft_is_recognised_in_both_shapes(tmp_path: Path, shape: str) -> None:
    with spawn(None, replace(FAST, oxen_resource=shape)) as address:
        async with opened("oxen", address, tmp_path) as bench:
            run = bench.run("draft")
            made = await bench.create(run)
            assert [one.remote_id for one in await bench.provider.find(run, await bench.listed())] == [
                made.remote_id
            ]
            unsent = bench.run("draft", sent_at=None)
            # Before it is sent, whatever the time: a lost database must find its own draft again.
            found = await bench.provider.find(unsent, await bench.listed())
            assert [one.remote_id for one in found] == [made.remote_id]
