"""Sandbox processes for these tests; other folders use `orchestrator.sandbox.spawn` themselves."""

from collections.abc import Iterator

import pytest

from orchestrator.sandbox import Options, spawn

from .box import Box


@pytest.fixture
def sandbox() -> Iterator[Box]:
    """A sandbox of this test's own, in another process, whose time moves only when told."""
    with spawn(None, Options(clock="manual", stage_seconds=10)) as url:
        box = Box(url)
        with box.client:
            yield box


@pytest.fixture(scope="session")
def _shared() -> Iterator[Box]:
    with spawn(None, Options(clock="manual", stage_seconds=10)) as url:
        box = Box(url)
        with box.client:
            yield box


@pytest.fixture
def shared(_shared: Box) -> Iterator[Box]:
    """A sandbox used by many tests, without faults at the start; what it holds is anybody's."""
    _shared.clear()
    yield _shared
    _shared.clear()
