"""The typed request that a driver gets to create, made between a run's claim and its intent."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar

from pydantic import ValidationError

from orchestrator.config.manifest import Spec
from orchestrator.config.secret import Secret
from orchestrator.core.job import Input, JsonObject
from orchestrator.core.run import Run
from orchestrator.errors import Rejected

S = TypeVar("S", bound=Spec)


@dataclass(frozen=True, kw_only=True, slots=True)
class Request(Generic[S]):
    """One run's work with its defaults and secrets, made anew for each attempt to send it.

    The JSON that is sent for it is stored with the intent, with references in place of the secrets.
    """

    job: str
    attempt: int
    marker: str
    spec: S
    inputs: Mapping[str, Input] = field(default_factory=dict)
    secrets: Mapping[str, Secret] = field(default_factory=dict)
    """The resolved secrets, by their dotted paths in the spec."""

    @property
    def name(self) -> str:
        """Return the spec's name, else the job's."""
        return getattr(self.spec, "name", None) or self.job

    def unrevealed(self) -> "Request[S]":
        """Return it as it may be stored: its secrets stay references."""
        return replace(self, secrets={})

    def body(self, **fields: Any) -> dict[str, Any]:
        """Return the spec as written with its secrets revealed, updated with `fields`."""
        made = self.spec.model_dump(mode="json", by_alias=True, exclude_unset=True)
        for path, secret in self.secrets.items():
            *outer, key = path.split(".")
            table = made
            for name in outer:
                table = table[name]
            table[key] = secret.reveal()
        return made | fields


def typed(kind: type[S], spec: JsonObject) -> S:
    """Read a stored spec; raises `Rejected` if this release no longer accepts it."""
    try:
        # As JSON, like the job files: pydantic then is strict about scalars but reads a list as a tuple.
        return kind.model_validate_json(json.dumps(spec))
    except ValidationError as error:
        where = ", ".join(".".join(map(str, one["loc"])) for one in error.errors(include_input=False)[:3])
        raise Rejected(f"nothing was sent: this release does not take the spec's {where}") from error


def name_of(run: Run) -> str:
    """Return a run's name at the provider: the spec's, else the job's."""
    return run.spec.get("name") or run.job
