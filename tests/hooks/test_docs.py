"""What `docs/hooks.md` says is so."""

import re
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from orchestrator.config.child import INHERITED
from orchestrator.core.delivery import Delivery
from orchestrator.core.event import EventType
from orchestrator.hooks.command import environment
from orchestrator.hooks.registry import registry
from orchestrator.hooks.webhook import key, make_secret, signature

TEXT = (Path(__file__).parents[2] / "docs" / "hooks.md").read_text()
Verified = Callable[[str, Mapping[str, str], bytes], bool]


@pytest.fixture
def verified() -> Verified:
    """The verifier as a reader copies it."""
    (snippet,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    names: dict[str, Any] = {}
    exec(snippet, names)  # noqa: S102 - the text of our own page
    found: Verified = names["verified"]
    return found


def _headers(delivery: Delivery, *secrets: str, age: int = 0) -> dict[str, str]:
    moment = datetime.fromtimestamp(int(time.time()) - age, UTC)
    return {
        "webhook-id": delivery.id,
        "webhook-timestamp": str(int(moment.timestamp())),
        "webhook-signature": signature([key(each) for each in secrets], delivery.id, moment, delivery.body),
    }


def test_the_verifier_takes_what_is_genuine(verified: Verified, delivery: Delivery) -> None:
    new, old = make_secret(), make_secret()
    headers = _headers(delivery, new, old)
    assert verified(new, headers, delivery.body)
    assert verified(old, headers, delivery.body)


def test_the_verifier_refuses_all_else(verified: Verified, delivery: Delivery) -> None:
    secret = make_secret()
    headers = _headers(delivery, secret)
    assert not verified(make_secret(), headers, delivery.body)
    assert not verified(secret, headers, delivery.body + b" ")
    assert not verified(secret, headers | {"webhook-id": "other"}, delivery.body)
    assert not verified(secret, _headers(delivery, secret, age=3600), delivery.body)


def test_every_word_that_matters_occurs(delivery: Delivery) -> None:
    told = {name for name in environment(delivery) if name.startswith("ORCHESTRATOR_")}
    options = {"allow_private", "superseded", "events", "timeout", "secret", "url", "command"}
    for word in {*EventType, *told, *INHERITED, *options, *registry()}:
        assert f"`{word}" in TEXT or f"**{word}**" in TEXT, word
