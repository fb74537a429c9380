"""The fingerprint of the paid work is the same in every release.

A run is recognised by the fingerprint of its job. Were it to change for a spec that did not, every
declared job would look like new work, and the next apply would buy all of it again. So a line of
`fingerprints.json` is never edited; new lines may be added.
"""

import json
from pathlib import Path

import pytest

from orchestrator.config.load import load

from .files import loaded, real_kinds, write

GOLDEN = json.loads((Path(__file__).parent / "fingerprints.json").read_text())


@pytest.mark.parametrize("case", GOLDEN, ids=[case["about"] for case in GOLDEN])
def test_golden(case: dict[str, str]) -> None:
    write("adapter/adapter_config.json", '{"model_type": "mistral"}')
    write("adapter/adapter_model.safetensors", b"\0" * 64)
    (job,) = load([write("jobs.toml", case["toml"])], real_kinds(), {}).jobs.values()
    assert job.fingerprint == case["fingerprint"]


def test_every_provider_has_golden_lines() -> None:
    text = json.dumps(GOLDEN)
    assert all(f"provider = '{kind}'" in text for kind in ("cartesia", "oxen", "cloudflare", "cohere"))


BASE = (
    "[jobs.a]\nprovider = 'voice'\n"
    "spec = { dataset = 'd', rate = 1.5, deep = { rank = 8, tags = ['x', 'y'] } }"
)


@pytest.mark.parametrize(
    "same",
    [
        BASE.replace("'", '"'),
        "# comment\n" + BASE,
        BASE.replace("[jobs.a]", "[jobs.b]"),
        BASE + "\non_change = 'refuse'\non_remove = 'cancel'\noverdue_after = '1h'\nhooks = []\nretries = 0",
        "[orchestrator]\nproject = 'x'\n" + BASE,
        "[providers.voice]\nmax_running = 1\n" + BASE,
        (
            "[jobs.a]\nprovider = 'voice'\n[jobs.a.spec.deep]\ntags = ['x', 'y']\nrank = 8\n"
            "[jobs.a.spec]\nrate = 1.50\ndataset = 'd'"
        ),
        BASE.replace("tags", "api_key = { env = 'A' }, tags"),
        BASE.replace("tags", "api_key = { file = 'b' }, tags"),
    ],
)
def test_what_does_not_count(same: str) -> None:
    (job,) = loaded(same).jobs.values()
    assert job.fingerprint == loaded(BASE).jobs["a"].fingerprint


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("'d'", "'e'"),
        ("1.5", "1.6"),
        ("rank = 8", "rank = 9"),
        ("'x', 'y'", "'y', 'x'"),
        ("rate = 1.5, ", ""),
        ("rate", "name = 'n', rate"),
        ("rate", "public = false, rate"),
    ],
)
def test_what_counts(old: str, new: str) -> None:
    assert loaded(BASE.replace(old, new)).jobs["a"].fingerprint != loaded(BASE).jobs["a"].fingerprint
