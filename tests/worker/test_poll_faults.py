"""Every fault of the sandbox against a poll by the real engine: never a status, and always got over."""

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import pytest
from conformance.drivers import KINDS
from conformance.test_drivers_faults import HANGS, HARMLESS, ORDERS

from orchestrator.providers.registry import registry
from orchestrator.sandbox.faults import FAULTS

from .watching import Watching, watching

READING = [kind for kind in KINDS if registry()[kind].can("get")]
PLACES = [(kind, "list") for kind in KINDS] + [(kind, "read") for kind in READING]
CODES = (202, 204, 302, 304, 400, 404, 408, 409, 410, 418, 425, 451, 498, 500, 502, 503, 504)
HOUR = timedelta(hours=1)
UNSEEN = {("repeated_cursor", "cloudflare"), ("endless_pages", "cloudflare")}
"""Faults of pages, where there is one page alone."""


def dealt(place: tuple[str, str]) -> list[str]:
    """Deal the faults out over drivers and operations, so that each is played once by default."""
    only_lists = [name for name in kinds_of("list") if name not in kinds_of("read")]
    both = [name for name in kinds_of("read") if name not in HANGS]
    share = both[PLACES.index(place) :: len(PLACES)]
    return share + only_lists[KINDS.index(place[0]) :: len(KINDS)] if place[1] == "list" else share


def kinds_of(on: str) -> list[str]:
    return [name for name, fault in FAULTS.items() if on in fault.on]


async def endure(watched: Watching, name: str, **order: object) -> None:
    """Play one fault for one look, and see that it said nothing of any run and passes."""
    if name == "refuse":
        order.clear()
        await watched.engine.close()  # it concerns new connections alone
    watched.bench.fault(name, **{"times": None, **ORDERS.get(name, {}), **order})
    before = (await watched.account()).confirmed_at
    await watched.tick()
    account = await watched.account()
    assert set(await watched.statuses()) == {"running"}, name
    assert [one for one in await watched.told() if not one.startswith("provider.")] == [], name
    seen = name in HARMLESS or (name, watched.kind) in UNSEEN or name == "shrinking"
    assert (account.confirmed_at == watched.clock.now) is seen, name
    assert (account.failures == 0) is seen, name
    assert (account.last_error is None) is seen, name
    assert seen or account.confirmed_at == before, name
    watched.bench.calm()
    await watched.tick(HOUR)
    account = await watched.account()
    assert (account.failures, account.paused, account.confirmed_at) == (0, None, watched.clock.now), name
    assert set(await watched.statuses()) == {"running"}, name


async def listings(watched: Watching, faults: Sequence[str]) -> None:
    await watched.seed(101)
    await watched.tick()
    for name in faults:
        (await watched.engine.worker(watched.kind)).depths = {}
        if name == "endless_pages" and watched.kind != "cloudflare":
            continue  # twenty thousand requests, or none: the caps are tested where they stand
        await endure(watched, name, operation="list")


async def reads(watched: Watching, faults: Sequence[str]) -> None:
    await watched.seed(1)
    await watched.tick()
    for name in faults:
        # As if the last listing had shown it far down: it is read by itself.
        (await watched.engine.worker(watched.kind)).depths = dict.fromkeys(watched.ids, 9)
        await endure(watched, name, operation="get")


@pytest.mark.parametrize("kind", KINDS)
async def test_a_listing_at_its_worst(kind: str, url: str, tmp_path: Path, migrated: Path) -> None:
    async with watching(kind, url, tmp_path, migrated) as watched:
        await listings(watched, dealt((kind, "list")))


@pytest.mark.parametrize("kind", READING)
async def test_a_read_at_its_worst(kind: str, url: str, tmp_path: Path, migrated: Path) -> None:
    async with watching(kind, url, tmp_path, migrated) as watched:
        await reads(watched, dealt((kind, "read")))


@pytest.mark.parametrize("kind", KINDS)
async def test_an_answer_that_never_comes(kind: str, url: str, tmp_path: Path, migrated: Path) -> None:
    async with watching(kind, url, tmp_path, migrated, deadline=0.4) as watched:
        await listings(watched, HANGS[KINDS.index(kind) :: len(KINDS)])


@pytest.mark.parametrize("kind", KINDS)
async def test_a_code_is_never_a_status(kind: str, url: str, tmp_path: Path, migrated: Path) -> None:
    async with watching(kind, url, tmp_path, migrated) as watched:
        await watched.seed(1)
        await watched.tick()
        for code in CODES[KINDS.index(kind) :: len(KINDS)]:
            await endure(watched, "status", operation="list", code=code)


@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
async def test_every_fault_of_a_listing(kind: str, url: str, tmp_path: Path, migrated: Path) -> None:
    async with watching(kind, url, tmp_path, migrated, deadline=2) as watched:
        await listings(watched, kinds_of("list"))
        for code in CODES:
            await endure(watched, "status", operation="list", code=code)


@pytest.mark.long
@pytest.mark.parametrize("kind", READING)
async def test_every_fault_of_a_read(kind: str, url: str, tmp_path: Path, migrated: Path) -> None:
    async with watching(kind, url, tmp_path, migrated, deadline=2) as watched:
        await reads(watched, kinds_of("read"))
