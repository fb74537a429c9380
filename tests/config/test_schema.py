"""The JSON Schema for editors: kept in step with the models, right about the example."""

import json
import tomllib
from pathlib import Path

import jsonschema  # type: ignore[import-untyped]  # it brings no types
import pytest

from orchestrator.config.schema import schema, text

from .files import KINDS, real_kinds

ROOT = Path(__file__).parents[2]


def errors(toml: str) -> list[str]:
    validator = jsonschema.Draft202012Validator(schema(KINDS))
    return [error.json_path for error in validator.iter_errors(tomllib.loads(toml))]


def test_the_file_is_in_step() -> None:
    # `orchestrator schema > jobs.schema.json` writes it anew
    assert (ROOT / "jobs.schema.json").read_text() == text(real_kinds())


def test_it_is_a_schema() -> None:
    for kinds in (KINDS, real_kinds()):
        jsonschema.Draft202012Validator.check_schema(schema(kinds))
    assert schema(KINDS)["$schema"] == "https://json-schema.org/draft/2020-12/schema"


def test_the_example_is_valid() -> None:
    document = tomllib.loads((ROOT / "jobs.example.toml").read_text())
    jsonschema.Draft202012Validator(schema(real_kinds())).validate(document)


@pytest.mark.parametrize(
    "toml",
    [
        "",
        "[providers.voice]\napi_key.env = 'A'",
        "[providers.x]\nkind = 'store'\naccount_id = 'a'\nregion = 'r'",
        "[providers.voice]\nkind = 'store'\naccount_id = 'a'\nregion = 'r'",
        "[jobs.a]\nprovider = 'voice'\nneeds = []\nretries = 0\nspec = { dataset = 'd', name = 'n' }",
        "[jobs.a]\nprovider = 'other'\nspec = { adapter = 'd' }",
        "[orchestrator]\npoll_interval = '2h30m'",
    ],
)
def test_what_it_takes(toml: str) -> None:
    assert errors(toml) == []


@pytest.mark.parametrize(
    ("toml", "path"),
    [
        ("jbos = 1", "$"),
        ("[datasets.x]", "$"),
        ("[orchestrator]\npoll_interval = '30'", "$.orchestrator.poll_interval"),
        ("[providers.voice]\napi_key = 'x'", "$.providers.voice.api_key"),
        ("[providers.voice]\nkind = 'store'", "$.providers.voice"),
        ("[providers.x]", "$.providers.x"),
        ("[providers.store]", "$.providers.store"),
        ("[hooks.post]\nevents = ['x']", "$.hooks.post.events[0]"),
        ("[jobs.a]\nprovider = 'voice'", "$.jobs.a"),
        ("[jobs.a]\nprovider = 'voice'\nneeds = ['b']\nspec = {}", "$.jobs.a.needs"),
        ("[jobs.a]\nprovider = 'voice'\nspec = { adapter = 'x' }", "$.jobs.a.spec"),
        ("[jobs.'a b']\nprovider = 'voice'\nspec = {}", "$.jobs"),
    ],
)
def test_what_it_refuses(toml: str, path: str) -> None:
    assert path in errors(toml)


def test_what_editors_show() -> None:
    made = json.loads(text(real_kinds()))
    place = made["properties"]["orchestrator"]["$ref"].rpartition("/")[2]
    settings = made["$defs"][place]["properties"]
    assert settings["poll_interval"]["default"] == "30s"
    assert "default" not in settings["project"]
    assert '"null"' not in text(real_kinds())
    assert all(field["description"] for field in settings.values())
