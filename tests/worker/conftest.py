"""Where these tests happen: the installed command in a folder of its own, or an engine on an account."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from conformance.drivers import FAST
from drive import _client, _url, _warm, listener, place

from orchestrator.sandbox import spawn

from .watching import Watching, watching

__all__ = ["_client", "_url", "_warm", "listener", "place"]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A sandbox for one module alone, so that its counts are that module's."""
    with spawn(None, FAST) as found:
        yield found


@pytest.fixture
def migrated(_migrated_file: Path) -> Path:
    """A migrated, empty database to copy."""
    return _migrated_file


@pytest.fixture
async def watched(
    request: pytest.FixtureRequest, url: str, tmp_path: Path, migrated: Path
) -> AsyncIterator[Watching]:
    """An engine on an account of its own, of the kind that the test is given."""
    async with watching(request.param, url, tmp_path, migrated) as found:
        yield found
