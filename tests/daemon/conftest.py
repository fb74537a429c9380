"""Where these tests happen: the installed command in a folder of its own."""

from pathlib import Path

import pytest
from drive import _client, _url, _warm, listener, place

__all__ = ["_client", "_url", "_warm", "listener", "place"]


@pytest.fixture
def migrated(_migrated_file: Path) -> Path:
    """A migrated, empty database to copy."""
    return _migrated_file
