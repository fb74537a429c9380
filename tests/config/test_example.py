"""`jobs.example.toml` loads, and shows one job for each provider."""

from pathlib import Path

from orchestrator.config.load import load

from .files import real_kinds, write

EXAMPLE = Path(__file__).parents[2] / "jobs.example.toml"


def test_the_example_loads() -> None:
    write("adapter/adapter_config.json", '{"model_type": "mistral"}')
    write("adapter/adapter_model.safetensors", b"\0" * 64)
    manifest = load([write("jobs.toml", EXAMPLE.read_text())], real_kinds(), {})
    assert manifest.warnings == ()
    assert manifest.settings.project == "acme-voices"
    assert {job.name: job.kind for job in manifest.jobs.values()} == {
        "narrator-en": "cartesia",
        "support-chat": "oxen",
        "intent-lora": "cloudflare",
        "support-classifier": "cohere",
    }
    assert {hook.kind for hook in manifest.hooks.values()} == {"webhook", "command"}
    assert manifest.jobs["narrator-en"].policy.hooks == ("team", "promote")
    assert manifest.jobs["support-chat"].policy.hooks == ("team",)
