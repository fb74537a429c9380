"""Every installed driver under every fault of the sandbox, judged by the sandbox's own ledger."""

import logging
import traceback
from collections.abc import Awaitable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import pytest
from _pytest.mark import ParameterSet

from orchestrator.core.run import Snapshot
from orchestrator.errors import (
    Denied,
    Gone,
    Misread,
    NotSent,
    ProviderError,
    Rejected,
    Throttled,
    Transient,
    Unclear,
)
from orchestrator.providers.registry import registry
from orchestrator.sandbox import spawn
from orchestrator.sandbox.badbodies import BODY_FAULTS
from orchestrator.sandbox.badstate import STATE_FAULTS
from orchestrator.sandbox.faults import FAULTS

from .drivers import FAST, KEY, KINDS, Bench, opened

T = TypeVar("T")
NOTHING_MADE = (NotSent, Throttled, Denied, Rejected)
HANGS = ("hang_before", "hang_after", "hang_headers", "hang_body", "drip")
LIES = ("shrinking", "endless_pages")
"""What no client can see through: `shrinking` anywhere, an invented single page where there are no pages."""
HARMLESS = (
    "delay",
    "continue_storm",
    "early_hints",
    "odd_status",
    "skewed_dates",
    "control_chars",
    "listed_late",
    "listed_then_hidden",
    "listed_twice",
    "doubled",
    "name_altered",
    "quota",
)
ORDERS: Mapping[str, Mapping[str, object]] = {
    "delay": {"seconds": 0.02},
    "gzip_bomb": {"megabytes": 32},
    "refuse": {"times": 1},
    "quota": {"seconds": 0},
}


def faults(on: str, kinds: Sequence[str] = KINDS) -> list[ParameterSet]:
    """Pair each driver with each fault of a class; waiting faults with one driver only, unless `long`."""
    return [
        pytest.param(kind, name, marks=[pytest.mark.long] if name in HANGS and kind != "oxen" else [])
        for kind in kinds
        for name, fault in FAULTS.items()
        if on in fault.on
    ]


def meaning(name: str) -> type[ProviderError]:
    """Say what a read under a fault is: broken off, or whole and not to be understood."""
    whole = name in BODY_FAULTS or name in STATE_FAULTS or name == "wrong_length"
    return Misread if whole and name != "status" else Transient


async def outcome_of(call: Awaitable[T]) -> T | ProviderError:
    """Return what a call gives or raises; anything but a `ProviderError` fails the test."""
    try:
        return await call
    except ProviderError as error:
        silent(error)
        return error


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with spawn(None, FAST) as address:
        yield address


@pytest.fixture(autouse=True)
def _no_leak(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    caplog.set_level(logging.DEBUG)
    yield
    assert KEY not in caplog.text


def silent(error: ProviderError) -> None:
    """Check that neither the error nor what it came of shows the key, or anything that moves a cursor."""
    shown = "".join(traceback.format_exception(error))
    assert KEY not in shown
    assert "\x1b" not in shown
    assert len(error.message) < 700
    assert "?" not in error.message


async def create(bench: Bench, name: str) -> Snapshot | ProviderError:
    """Create under whatever fault is on, and check the outcome against the ledger."""
    before = len(bench.made())
    outcome = await outcome_of(bench.create(bench.run(name[:5].replace("_", "a"))))
    bench.calm()
    made = bench.made()[before:]
    if isinstance(outcome, Snapshot):
        assert outcome.remote_id in made
    elif isinstance(outcome, NOTHING_MADE):
        assert made == []
    else:
        assert isinstance(outcome, Unclear)
    return outcome


@pytest.mark.parametrize(("kind", "name"), faults("create"))
async def test_a_create_never_denies_what_was_made(url: str, tmp_path: Path, kind: str, name: str) -> None:
    deadline = 0.3 if name in HANGS else 5.0
    async with opened(kind, url, tmp_path, deadline=deadline) as bench:
        bench.fault(name, **ORDERS.get(name, {}))
        outcome = await create(bench, name)
        if name in HARMLESS:
            assert isinstance(outcome, Snapshot)
        elif name == "refuse":
            assert isinstance(outcome, NotSent | Unclear)
        else:
            assert isinstance(outcome, Unclear)


@pytest.mark.parametrize("applied", [False, True])
@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (400, Rejected),
        (401, Denied),
        (402, Denied),
        (403, Denied),
        (404, Gone),
        (405, Rejected),
        (408, Unclear),
        (409, Unclear),
        (410, Gone),
        (413, Rejected),
        (415, Rejected),
        (418, Unclear),
        (422, Rejected),
        (425, Unclear),
        (429, Throttled),
        (498, Denied),
        (500, Unclear),
        (502, Unclear),
        (503, Unclear),
        (504, Unclear),
        (202, Unclear),
        (307, Unclear),
    ],
)
@pytest.mark.parametrize("kind", KINDS)
async def test_a_create_by_code(
    url: str, tmp_path: Path, kind: str, code: int, expected: type[ProviderError], applied: bool
) -> None:
    if applied and expected is not Unclear:
        pytest.skip("a provider that refuses what it does is not believed in")
    async with opened(kind, url, tmp_path) as bench:
        bench.fault("status", code=code, applied=applied)
        outcome = await create(bench, "status")
        assert type(outcome) is expected
        assert isinstance(outcome, ProviderError)
        assert outcome.code == code
        assert ("told to answer" in outcome.message) is (code != 307)


@pytest.mark.parametrize(("kind", "name"), faults("list"))
async def test_a_listing_is_complete_or_an_error(url: str, tmp_path: Path, kind: str, name: str) -> None:
    if name in LIES[: 2 if kind == "cloudflare" else 1]:
        pytest.skip("no client can see it")
    deadline = 0.3 if name in HANGS else 5.0
    async with opened(kind, url, tmp_path, deadline=deadline) as bench:
        if name == "repeated_cursor" and kind != "cloudflare":
            bench.seed(150)  # more than a page
        made = await bench.create(bench.run("list"))
        bench.fault(name, **{"times": None, **ORDERS.get(name, {})})
        shown = await outcome_of(bench.listed(most=4))
        if isinstance(shown, ProviderError):
            assert type(shown) is meaning(name)
            assert name not in HARMLESS
        else:
            assert made.remote_id in [item.remote_id for item in shown]
            assert name in HARMLESS or (name, kind) in {("repeated_cursor", "cloudflare")}


@pytest.mark.parametrize("code", [202, 302, 400, 401, 403, 404, 408, 409, 410, 425, 429, 498, 500, 503])
@pytest.mark.parametrize("kind", KINDS)
async def test_a_listing_by_code(url: str, tmp_path: Path, kind: str, code: int) -> None:
    expected = {
        **dict.fromkeys((202, 302), Misread),
        **dict.fromkeys((401, 403, 498), Denied),
        **dict.fromkeys((404, 410), Gone),
        **dict.fromkeys((408, 425, 500, 503), Transient),
        **dict.fromkeys((400, 409), Rejected),
        429: Throttled,
    }
    async with opened(kind, url, tmp_path) as bench:
        bench.fault("status", code=code, retry_after=7)
        with pytest.raises(ProviderError) as caught:
            await bench.listed()
        assert type(caught.value) is expected[code]
        silent(caught.value)
        assert caught.value.retry_after == 7


@pytest.mark.parametrize(
    ("kind", "name"), faults("read", [kind for kind in KINDS if registry()[kind].can("get")])
)
async def test_a_read_is_never_a_verdict(url: str, tmp_path: Path, kind: str, name: str) -> None:
    deadline = 0.3 if name in HANGS else 5.0
    async with opened(kind, url, tmp_path, deadline=deadline) as bench:
        made = await bench.create(bench.run("read"))
        bench.fault(name, operation=None if name == "refuse" else "get", **ORDERS.get(name, {}))
        shown = await outcome_of(bench.provider.get(made.remote_id))
        if isinstance(shown, ProviderError):
            assert type(shown) is meaning(name)
            assert name not in HARMLESS
        else:
            assert shown.remote_id == made.remote_id
            assert (shown.status is None) is (name in ("odd_status", "control_chars"))


@pytest.mark.parametrize(
    ("kind", "name"), faults("change", [kind for kind in KINDS if registry()[kind].steps])
)
async def test_a_step_is_made_once(url: str, tmp_path: Path, kind: str, name: str) -> None:
    """Whatever becomes of the first try, the second brings it to its end, and nothing is paid twice."""
    deadline = 0.3 if name in HANGS else 5.0
    async with opened(kind, url, tmp_path, deadline=deadline) as bench:
        made = await bench.create(bench.run("step"))
        run = bench.run("step", remote_id=made.remote_id)
        step = bench.provider.steps[-1]
        bench.fault(
            name,
            operation=None if name == "refuse" else {"oxen": "run"}.get(kind, "upload"),
            **ORDERS.get(name, {}),
        )
        first = await outcome_of(bench.provider.step(step, run))
        assert not isinstance(first, ProviderError) or isinstance(first, Transient | Misread)
        bench.calm()
        last = await bench.provider.step(step, run)
        assert last is not None
        assert last.status is not None
        assert last.status.final
        times = 2 if name == "doubled" else 1  # the sandbox books what it does twice itself
        assert bench.ledger()["paid"][kind].count(made.remote_id) == (times if kind == "oxen" else 0)
