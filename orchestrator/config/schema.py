"""The job file's JSON Schema, made of the same models, for editors (`#:schema ./jobs.schema.json`)."""

import json
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any, Final

from pydantic import BaseModel, TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, models_json_schema

from orchestrator.config.duration import PATTERN, show
from orchestrator.config.manifest import NAME, JobTable, Kinds, Settings

Node = dict[str, Any]

_MODE: Final[JsonSchemaMode] = "validation"
_ISO: Final = TypeAdapter(timedelta)
_NAMES: Final[Node] = {"pattern": NAME}


def schema(kinds: Kinds) -> Node:
    """Describe a whole job file as these kinds read it (JSON Schema, draft 2020-12)."""
    accounts = {name: kind.options for name, kind in kinds.providers.items()}
    specs = {name: kind.spec for name, kind in kinds.providers.items()}
    models: list[type[BaseModel]] = [Settings, JobTable]
    models += [*accounts.values(), *kinds.hooks.values(), *specs.values()]
    made = _Made(models)
    # the loader puts the folder's name there
    del made.definition(Settings)["properties"]["project"]["default"]
    return {
        "$schema": GenerateJsonSchema.schema_dialect,
        "title": "orchestrator job file",
        "description": "Hosted fine-tunes, the accounts that run them, and the hooks to notify.",
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "orchestrator": made.ref(Settings),
            "providers": made.named_by_kind(accounts),
            "hooks": made.named_by_kind(kinds.hooks),
            "jobs": {"type": "object", "propertyNames": _NAMES, "additionalProperties": made.job(specs)},
        },
        "$defs": _tidy(made.definitions, names=True),
    }


def text(kinds: Kinds) -> str:
    """Write the schema as `jobs.schema.json` holds it."""
    return json.dumps(schema(kinds), indent=2, sort_keys=True, ensure_ascii=False) + "\n"


class _Made:
    """The generated definitions, and how the tables of a job file refer to them."""

    def __init__(self, models: Iterable[type[BaseModel]]) -> None:
        refs, definitions = models_json_schema([(model, _MODE) for model in dict.fromkeys(models)])
        self._refs = {model: ref for (model, _), ref in refs.items()}
        self.definitions: Node = definitions["$defs"]

    def ref(self, model: type[BaseModel]) -> Node:
        """Refer to a model's definition."""
        return dict(self._refs[model])

    def definition(self, model: type[BaseModel]) -> Node:
        """Return what a reference to the model leads to."""
        node: Node = self.definitions[self._refs[model]["$ref"].rpartition("/")[2]]
        return node

    def named_by_kind(self, models: Mapping[str, type[BaseModel]]) -> Node:
        """Describe `[providers.*]` or `[hooks.*]`: of the kind that the table says, else of its name."""
        return {
            "type": "object",
            "propertyNames": _NAMES,
            "properties": {name: self._of_kind(models, name) for name in models},
            "additionalProperties": self._of_kind(models, None),
        }

    def _of_kind(self, models: Mapping[str, type[BaseModel]], default: str | None) -> Node:
        branches = [_when("kind", name, self._optional_kind(model)) for name, model in models.items()]
        node: Node = {
            "type": "object",
            "properties": {"kind": {"enum": sorted(models)}},
            "allOf": branches,
        }
        if default is None:
            return {**node, "required": ["kind"]}
        otherwise = {"if": {"required": ["kind"]}, "else": self._optional_kind(models[default])}
        return {**node, "allOf": [*branches, otherwise]}

    def _optional_kind(self, model: type[BaseModel]) -> Node:
        definition = self.definition(model)
        definition["required"] = [key for key in definition.get("required", []) if key != "kind"]
        return self.ref(model)

    def job(self, specs: Mapping[str, type[BaseModel]]) -> Node:
        """Describe `[jobs.*]`: where the provider is a kind's name, the spec is of that kind."""
        node = self.definition(JobTable)
        node["properties"]["spec"] = {
            "description": "The provider's own request fields, by the provider's own names.",
            "anyOf": [self.ref(model) for model in specs.values()],
        }
        # no use yet, but their defaults may be written
        node["properties"] |= {"needs": {"type": "array", "maxItems": 0}, "retries": {"const": 0}}
        node["required"] = sorted({*node.get("required", []), "spec"})
        for name, model in specs.items():
            # an account of another name gets any spec: a schema cannot look up its kind
            branch = _when("provider", name, {"properties": {"spec": self.ref(model)}})
            node.setdefault("allOf", []).append(branch)
        return self.ref(JobTable)


def _when(key: str, value: str, then: Node) -> Node:
    return {"if": {"properties": {key: {"const": value}}, "required": [key]}, "then": then}


def _tidy(node: Any, *, names: bool = False) -> Any:
    """Drop titles, which only repeat the keys, and null, which TOML lacks; `names` are fields' names."""
    if isinstance(node, list):
        return [_tidy(inner) for inner in node if inner != {"type": "null"}]
    if not isinstance(node, dict):
        return node
    if names:
        return {key: _tidy(inner) for key, inner in node.items()}
    kept = {
        key: _tidy(inner, names=key == "properties")
        for key, inner in node.items()
        if key != "title" and not (key == "default" and inner is None)
    }
    if len(kept.get("anyOf", ())) == 1:
        kept |= kept.pop("anyOf")[0]
    if kept.get("pattern") == PATTERN and "default" in kept:
        # pydantic writes a default as ISO 8601, whatever the field reads
        kept["default"] = show(_ISO.validate_python(kept["default"]))
    return kept
