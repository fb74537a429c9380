"""Each kind of fault on the list: where no provider is, what it answers, and what the sandbox makes of it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.errors import ProviderError
from orchestrator.providers.registry import registry
from orchestrator.sandbox import spawn
from orchestrator.sandbox.faults import FAULTS

from .destinations import SAYS
from .drivers import FAST, KINDS, opened
from .listed import ANSWERS, BEYOND, PLAYED
from .test_drivers_faults import create, outcome_of


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with spawn(None, FAST) as address:
        yield address


def test_the_sandbox_has_every_kind_that_is_listed() -> None:
    listed = [*SAYS, *ANSWERS, *PLAYED]
    assert len(listed) == len(set(listed)) >= 77
    played = {*PLAYED.values(), *(answer.kind for answer in ANSWERS.values())}
    assert played | BEYOND == set(FAULTS)  # what is new there is to be placed here


@pytest.mark.parametrize("name", ANSWERS)
@pytest.mark.parametrize("kind", KINDS)
async def test_an_answer_is_classified(url: str, tmp_path: Path, kind: str, name: str) -> None:
    answer = ANSWERS[name]

    def judge(outcome: object, expected: type[ProviderError], wait: float | None) -> None:
        assert type(outcome) is expected
        assert isinstance(outcome, ProviderError)
        if wait is not None:
            assert outcome.retry_after == pytest.approx(wait, abs=5 if wait == 60 else 0)

    async with opened(kind, url, tmp_path) as bench:
        bench.fault(answer.kind, operation="create", **answer.order)
        judge(await create(bench, "listed"), answer.create, answer.waits and answer.waits[0])
        assert len(bench.made()) == int(answer.order.get("applied", False))
    async with opened(kind, url, tmp_path) as bench:
        bench.fault(answer.kind, operation="list", **answer.order)
        judge(await outcome_of(bench.listed()), answer.listing, answer.waits and answer.waits[1])
    if registry()[kind].can("get"):
        async with opened(kind, url, tmp_path) as bench:
            bench.fault(answer.kind, operation="get", **answer.order)
            outcome = await outcome_of(bench.provider.get("ft-1"))
            judge(outcome, answer.read or answer.listing, answer.waits and answer.waits[1])
