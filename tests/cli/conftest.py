"""Every test here drives the installed command in a folder of its own."""

from collections.abc import Iterator

import pytest
from drive import Place, _client, _url, _warm, place
from listener import Listener, listening

from orchestrator.hooks.webhook import make_secret

__all__ = ["_client", "_url", "_warm", "listener", "place"]


@pytest.fixture
def listener(place: Place) -> Iterator[Listener]:
    """A receiver of webhooks; the place has its secret in TEAM_HOOK_SECRET."""
    with listening(make_secret()) as found:
        place.env["TEAM_HOOK_SECRET"] = found.secret
        yield found
