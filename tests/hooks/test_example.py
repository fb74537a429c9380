"""The delivery of `hooks test`, and the kinds that are installed."""

import json

import pytest

from orchestrator.core.event import EventType
from orchestrator.hooks.base import utc_now
from orchestrator.hooks.example import example
from orchestrator.hooks.registry import registry

from .conftest import NOW

KEYS = (
    "job provider status previous_status provider_status remote_id run_id attempt sequence current "
    "result message submitted_at finished_at"
)


@pytest.mark.parametrize("event", EventType)
def test_it_looks_as_the_real_one_and_says_that_it_is_a_test(event: EventType) -> None:
    delivery = example("team", event, NOW, delivery_id="d", project="acme")
    document = json.loads(delivery.body)
    assert set(document) == {"type", "timestamp", "data"}
    assert document["type"] == event == delivery.event
    assert document["timestamp"] == "2026-11-21T09:00:00.500000Z"
    data = document["data"]
    assert set(data) == {*KEYS.split(), "test"}
    assert data["test"] is True
    assert delivery.job == data["job"] == ("example" if event.startswith("job.") else None)
    assert (data["result"] is not None) == (event is EventType.SUCCEEDED)


def test_the_kinds_are_what_the_package_names() -> None:
    assert {"command", "webhook"} <= set(registry())
    for name, kind in registry().items():
        assert kind.kind == name


def test_the_clock_is_aware() -> None:
    assert utc_now().utcoffset() is not None
