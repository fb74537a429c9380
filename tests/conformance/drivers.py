"""What the suite knows of each driver: a job it may ask for, and how the sandbox shows it."""

import hashlib
import ssl
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

from orchestrator.core.job import Input
from orchestrator.core.run import Run, Snapshot, Status
from orchestrator.providers.base import Provider, SecretResolver
from orchestrator.providers.paging import pages
from orchestrator.providers.registry import open_provider, registry
from orchestrator.sandbox import Options

KEY = "canary-key-0123456789"
NOW = datetime.now(UTC)
FAST = Options(stage_seconds=0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """A driver's share of the suite; `words` are those that the sandbox may show."""

    prefix: str
    spec: Mapping[str, Any]
    options: Mapping[str, Any] = field(default_factory=dict)
    place: str = ""
    """The option that names the account; elsewhere the key does."""
    words: Mapping[str, Status | None]


CASES: Mapping[str, Case] = {
    "cartesia": Case(
        prefix="/cartesia",
        spec={
            "description": "English",
            "language": "en",
            "model_id": "sonic-3-2026-01-12",
            "dataset": "ds_1",
        },
        words={
            "created": Status.QUEUED,
            "training": Status.RUNNING,
            "completed": Status.SUCCEEDED,
            "failed": Status.FAILED,
        },
    ),
    "oxen": Case(
        prefix="/oxen",
        spec={
            "resource": "main/train.parquet",
            "base_model": "meta-llama/Llama-3.2-1B-Instruct",
            "script_type": "text_generation",
            "training_params": {"lora_rank": 8, "learning_rate": 0.0001, "question_column": "q"},
        },
        options={"namespace": "acme"},
        place="repo",
        words={
            "created": Status.QUEUED,
            "tokenizing": Status.QUEUED,
            "enqueued": Status.QUEUED,
            "pending": Status.QUEUED,
            "running": Status.RUNNING,
            "completed": Status.SUCCEEDED,
            "deployed": Status.SUCCEEDED,
            "errored": Status.FAILED,
            "failed": Status.FAILED,
            "stopped": Status.CANCELLED,
        },
    ),
    "cloudflare": Case(
        prefix="/cloudflare/client/v4",
        spec={"model": "@cf/mistral/mistral-7b-instruct-v0.2-lora", "adapter": "adapter", "public": False},
        place="account_id",
        words={"created": Status.QUEUED},
    ),
    "cohere": Case(
        prefix="/cohere",
        spec={
            "settings": {
                "base_model": {"base_type": "BASE_TYPE_CHAT"},
                "dataset_id": "ds-1",
                "hyperparameters": {"train_epochs": 2, "learning_rate": 0.01},
            }
        },
        words={
            "STATUS_QUEUED": Status.QUEUED,
            "STATUS_FINETUNING": Status.RUNNING,
            "STATUS_DEPLOYING_API": Status.RUNNING,
            "STATUS_READY": Status.SUCCEEDED,
            "STATUS_PAUSED": Status.SUCCEEDED,
            "STATUS_TEMPORARILY_OFFLINE": Status.SUCCEEDED,
            "STATUS_FAILED": Status.FAILED,
            "STATUS_DELETED": Status.LOST,
            "STATUS_UNSPECIFIED": None,
        },
    ),
}
KINDS = sorted(registry())


class Bench:
    """One driver against one sandbox, with the sandbox's own books at hand."""

    def __init__(self, kind: str, url: str, account: str, folder: Path, provider: Provider) -> None:
        self.kind, self.case, self.folder, self.provider = kind, CASES[kind], folder, provider
        self.account = f"acme/{account}" if kind == "oxen" else account
        # A context that trusts nobody, since none is used: loading the certificates takes 20 ms.
        unused = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._admin = httpx.Client(base_url=url, timeout=10, trust_env=False, verify=unused)

    def close(self) -> None:
        self._admin.delete("/_sandbox/faults").raise_for_status()
        self._admin.close()

    def run(self, marker: str, **changes: Any) -> Run:
        """Make a run whose files lie in the folder."""
        inputs = {
            f"adapter/{name}": _write(self.folder / name) for name in self.provider.steps if "." in name
        }
        plain = Run(
            id="r1",
            project="p",
            job="narrator-en",
            account=self.kind,
            kind=self.kind,
            fingerprint="f",
            attempt=1,
            marker=f"ft1-{marker.ljust(20, 'a')}",
            spec=self.case.spec,
            inputs=inputs,
            created_at=NOW,
            updated_at=NOW,
            sent_at=NOW,
        )
        return replace(plain, **changes)

    async def create(self, run: Run) -> Snapshot:
        """Send `run` as the worker does."""
        return await self.provider.create(await self.provider.request(run))

    def fault(self, name: str, **order: Any) -> None:
        order = (
            {"kind": name, **order} if name == "refuse" else {"kind": name, "provider": self.kind, **order}
        )
        self._admin.post("/_sandbox/faults", json=order).raise_for_status()

    def calm(self) -> None:
        self._admin.delete("/_sandbox/faults").raise_for_status()

    def seed(self, count: int, **fields: Any) -> list[str]:
        order = {"provider": self.kind, "account": self.account, "count": count, **fields}
        reply = self._admin.post("/_sandbox/seed", json=order).raise_for_status()
        found: list[str] = reply.json()["ids"]
        return found

    def set(self, remote_id: str, status: str) -> None:
        order = {"provider": self.kind, "id": remote_id, "status": status}
        self._admin.post("/_sandbox/set", json=order).raise_for_status()

    def ledger(self) -> Mapping[str, Any]:
        reply = self._admin.get("/_sandbox/ledger", params={"provider": self.kind, "limit": 100})
        found: Mapping[str, Any] = reply.raise_for_status().json()
        return found

    def requests(self) -> list[Mapping[str, Any]]:
        """Return every request to this account."""
        return [entry for entry in self.ledger()["requests"] if entry["account"] == self.account]

    def creations(self) -> list[Mapping[str, Any]]:
        """Return all that was really created in this account."""
        return [entry for entry in self.ledger()["created"][self.kind] if entry["account"] == self.account]

    def made(self) -> list[str]:
        """Return the ids of what was created."""
        return [entry["id"] for entry in self.creations()]

    async def listed(self, *, most: int = 50) -> list[Snapshot]:
        return [item async for page in pages(self.provider, most=most) for item in page.items]


def _write(path: Path) -> Input:
    path.write_bytes(b'{"model_type": "mistral", "r": 8}' if path.suffix == ".json" else b"\x00" * 70_000)
    content = path.read_bytes()
    return Input(path=str(path), sha256=hashlib.sha256(content).hexdigest(), size=len(content))


@asynccontextmanager
async def opened(
    kind: str, url: str, folder: Path, *, deadline: float = 5.0, key: str | None = None
) -> AsyncIterator[Bench]:
    """Open `kind` on the sandbox at `url` with an account of its own, and the canary in its key."""
    cls, case, account = registry()[kind], CASES[kind], uuid.uuid4().hex
    table = {"kind": kind, "base_url": url + case.prefix, "requests_per_second": 10_000.0, **case.options}
    if case.place:
        table[case.place] = account
    variable, *_ = cls.credentials.get("api_token", cls.credentials["api_key"])
    secrets = SecretResolver(root=folder, env={variable: key or f"{account}:{KEY}"})
    options = cls.Options.model_validate(table)
    provider = await open_provider(cls, options, secrets, deadline=deadline, upload_deadline=deadline)
    bench = Bench(kind, url, account, folder, provider)
    try:
        yield bench
    finally:
        bench.close()
        await provider.close()
