"""What a driver is asked to make: all of it follows from the stored run, but for the secrets."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import Denied, Rejected
from orchestrator.net.redaction import redact
from orchestrator.providers.base import SecretResolver
from orchestrator.providers.registry import registry
from orchestrator.providers.request import Request, typed

from .test_drivers import FULL, KINDS, LEAST, opened, run_of

WANDB = "wandb-canary-0123456789"


@pytest.mark.parametrize("specs", [LEAST, FULL], ids=["least", "full"])
@pytest.mark.parametrize("kind", KINDS)
async def test_what_is_sent_is_what_was_written(
    kind: str, specs: Mapping[str, Mapping[str, Any]], tmp_path: Path
) -> None:
    provider = await opened(kind, "http://127.0.0.1:9", tmp_path)
    provider.secrets = SecretResolver(root=tmp_path, env={"WANDB_TEST_KEY": WANDB})
    run = run_of(kind, json.loads(json.dumps(specs[kind])))
    request = await provider.request(run)
    sent = json.dumps(request.body(), sort_keys=True)
    assert sent.replace(f'"{WANDB}"', '{"env": "WANDB_TEST_KEY"}') == json.dumps(run.spec, sort_keys=True)
    assert (request.job, request.marker, request.inputs) == (run.job, run.marker, run.inputs)
    assert request.name == run.spec.get("name", run.job)
    assert WANDB not in f"{request} {run}"
    assert WANDB not in redact(sent)
    await provider.close()


async def test_a_secret_that_leads_nowhere_is_denied(tmp_path: Path) -> None:
    provider = await opened("cohere", "http://127.0.0.1:9", tmp_path)
    with pytest.raises(Denied, match="WANDB_TEST_KEY"):
        await provider.request(run_of("cohere", FULL["cohere"]))
    await provider.close()


def test_a_spec_of_another_release_is_named_and_not_quoted() -> None:
    spec = {**LEAST["cartesia"], "language": 5, "accent": "hunter2"}
    with pytest.raises(Rejected) as caught:
        typed(registry()["cartesia"].Spec, spec)
    assert "language, accent" in caught.value.message
    assert "hunter2" not in caught.value.message


def test_fields_stand_over_what_the_spec_says() -> None:
    kind = registry()["oxen"].Spec
    request = Request(job="j", attempt=1, marker="m", spec=typed(kind, LEAST["oxen"]), secrets={})
    assert request.body(resource="x") == {**LEAST["oxen"], "resource": "x"}
    assert request.name == "j"
