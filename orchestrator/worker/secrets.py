"""The secrets of the job files and of open runs, looked up before any request.

An account may answer with a secret that another one was sent, or that was sent before a restart; only a
secret that is known by then can be hidden.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, Final

import anyio
import structlog
from pydantic import BaseModel

from orchestrator.config.manifest import Manifest
from orchestrator.config.secret import Secret, SecretRef, resolve
from orchestrator.core.job import JsonObject
from orchestrator.errors import SecretError
from orchestrator.providers.registry import registry
from orchestrator.store.store import Store

log: structlog.stdlib.BoundLogger = structlog.get_logger("orchestrator.worker")

AT_ONCE: Final = 10
"""Secrets that are looked up at the same time."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Place:
    """Where a secret is named; `path` is empty where whoever needs it says itself that it is missing."""

    reference: SecretRef
    root: Path
    path: str = ""


@dataclass(kw_only=True)
class KnownSecrets:
    """Makes the secrets of declared accounts, hooks and jobs known, and those of open runs."""

    store: Store
    env: Mapping[str, str]
    withheld: str | None = None
    """Why no text of a provider is shown: one was sent a secret that does not resolve here."""
    _manifest: Manifest | None = None
    _lock: anyio.Lock = field(default_factory=anyio.Lock)

    async def learn(self, manifest: Manifest, *, again: bool) -> None:
        """Resolve all of them, where `manifest` is new, or `again` where some did not resolve."""
        async with self._lock:
            if manifest is self._manifest and not (again and self.withheld):
                return
            for kind in registry().values():
                for name in chain.from_iterable(kind.credentials.values()):
                    if self.env.get(name):
                        Secret(self.env[name])
            limit = anyio.CapacityLimiter(AT_ONCE)
            self.withheld = None
            async with anyio.create_task_group() as tasks:
                for place in {*_of_tables(manifest), *await self._of_specs(manifest)}:
                    tasks.start_soon(self._resolve, place, limit)
            self._manifest = manifest

    async def _resolve(self, place: _Place, limit: anyio.CapacityLimiter) -> None:
        async with limit:
            try:
                await resolve(place.reference, place.root, self.env)
            except SecretError as error:
                if place.path:
                    self.withheld = f"its text is withheld, since {place.path} of a job does not resolve"
                    log.warning("secret.unknown", path=place.path, error=error.message)

    async def _of_specs(self, manifest: Manifest) -> list[_Place]:
        kinds = {name: kind.Spec.secrets for name, kind in registry().items() if kind.Spec.secrets}
        accounts = {name: one.kind for name, one in manifest.accounts.items() if one.kind in kinds}
        if not accounts:
            return []
        specs = [(job.account, job.spec) for job in manifest.jobs.values() if job.account in accounts]
        specs += await self.store.watch.specs(tuple(accounts))
        return [
            _Place(
                path=path,
                root=manifest.folder("providers", account),
                reference=SecretRef.model_validate(found),
            )
            for account, spec in specs
            for path in kinds[accounts[account]]
            for found in _at(spec, path.split("."))
        ]


def _of_tables(manifest: Manifest) -> Iterator[_Place]:
    """Find what accounts and hooks name; a command is left to its owner, since it may ask a person."""
    tables: Iterable[tuple[Path, BaseModel]] = (
        *((manifest.folder("providers", name), table) for name, table in manifest.accounts.items()),
        *((manifest.folder("hooks", name), table) for name, table in manifest.hooks.items()),
    )
    for root, table in tables:
        for _, value in table:
            for one in value if isinstance(value, tuple) else (value,):
                if isinstance(one, SecretRef) and one.command is None:
                    yield _Place(reference=one, root=root)


def _at(spec: JsonObject, path: list[str]) -> Iterator[Any]:
    found: Any = spec
    for key in path:
        found = found.get(key) if isinstance(found, dict) else None
    if found is not None:
        yield found
