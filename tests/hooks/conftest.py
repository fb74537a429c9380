"""What every test of a hook needs: a loop, a receiver, a delivery, a secret."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from orchestrator.core.delivery import Delivery
from orchestrator.core.event import EventType
from orchestrator.hooks.example import example
from orchestrator.hooks.webhook import make_secret

from .receiver import Receiver, receiving

NOW = datetime(2026, 11, 21, 9, 0, 0, 500_000, tzinfo=UTC)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as each:
        yield each


@pytest.fixture
def delivery() -> Delivery:
    return example("team", EventType.SUCCEEDED, NOW, delivery_id="dlv_1", project="acme")


@pytest.fixture
def secret(monkeypatch: pytest.MonkeyPatch) -> str:
    """A webhook secret, in the variable TEAM_HOOK_SECRET."""
    value = make_secret()
    monkeypatch.setenv("TEAM_HOOK_SECRET", value)
    return value
