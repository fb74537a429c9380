"""Job files on disk, and the shortest way to load them."""

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import pytest
from pydantic import Field

from orchestrator.config.load import load
from orchestrator.config.manifest import (
    AccountOptions,
    HookOptions,
    Kinds,
    Manifest,
    ProviderKind,
    Spec,
    Table,
)
from orchestrator.config.secret import SecretRef
from orchestrator.errors import ManifestError
from orchestrator.hooks import registry as hooks
from orchestrator.providers import registry as providers


def real_kinds() -> Kinds:
    """Everything that is installed."""
    return Kinds(
        providers={
            name: ProviderKind(options=kind.Options, spec=kind.Spec)
            for name, kind in providers.registry().items()
        },
        hooks={name: kind.Options for name, kind in hooks.registry().items()},
    )


class VoiceOptions(AccountOptions):
    """An account with nothing that must be given."""

    api_key: SecretRef | None = None


class Deep(Table):
    api_key: SecretRef | None = None
    rank: int | None = Field(default=None, ge=1, le=64)
    tags: tuple[str, ...] = ()


class VoiceSpec(Spec):
    named: ClassVar[bool] = True
    secrets: ClassVar[tuple[str, ...]] = ("deep.api_key", "loose")

    name: str
    dataset: str
    epochs: int | None = None
    rate: float | None = None
    public: bool | None = None
    deep: Deep | None = None
    loose: object = None
    many: tuple[SecretRef, ...] | SecretRef | None = None
    free: dict[str, object] | None = None


class StoreOptions(AccountOptions):
    """An account that cannot do without a table."""

    account_id: str
    region: str


class StoreSpec(Spec):
    folders: ClassVar[Mapping[str, tuple[str, ...]]] = {"adapter": ("config.json", "weights.bin")}

    adapter: str | None = None


class PostOptions(HookOptions):
    url: str = "https://example.com"


KINDS = Kinds(
    providers={
        "voice": ProviderKind(options=VoiceOptions, spec=VoiceSpec),
        "store": ProviderKind(options=StoreOptions, spec=StoreSpec),
    },
    hooks={"post": PostOptions},
)

JOB = """
[jobs.a]
provider = "voice"
spec = { dataset = "d" }
"""


def write(name: str, text: str | bytes) -> Path:
    """Write a file below the current folder, and name it absolutely."""
    path = Path.cwd() / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def loaded(*texts: str | bytes, kinds: Kinds = KINDS, env: Mapping[str, str] | None = None) -> Manifest:
    """Load texts as `jobs.toml`, `jobs1.toml` and so on."""
    names = ["jobs.toml", *(f"jobs{index}.toml" for index in range(1, len(texts)))]
    paths = [write(name, text) for name, text in zip(names, texts, strict=True)]
    return load(paths, kinds, env or {})


def problems(*texts: str | bytes, kinds: Kinds = KINDS, env: Mapping[str, str] | None = None) -> list[str]:
    """Load texts that are wrong, and return what is said."""
    with pytest.raises(ManifestError) as caught:
        loaded(*texts, kinds=kinds, env=env)
    return [str(problem) for problem in caught.value.problems]


def spec_problems(spec: str) -> list[str]:
    """Return what is said of the lines of one spec; the first of them stands in line 4."""
    return problems(f'[jobs.a]\nprovider = "voice"\n[jobs.a.spec]\n{spec}\n')
