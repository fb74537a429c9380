"""Cohere's fine-tuned models: docs.cohere.com/v1/reference/createfinetunedmodel, read November 2026.

The service ended on 15 September 2025; the driver is kept for accounts that still answer, and against
the emulation. Its answers leave out zero values, as protobuf does.
"""

from collections.abc import Mapping
from datetime import date
from typing import Any, ClassVar, Final, Literal

from pydantic import Field

from orchestrator.config.manifest import Spec, Table
from orchestrator.config.secret import SecretRef
from orchestrator.core.job import JsonObject
from orchestrator.core.run import Snapshot, Status
from orchestrator.errors import Misread
from orchestrator.providers._read import (
    after_create,
    maybe_text,
    moment,
    record,
    records,
    remote_id,
    segment,
    text,
    word,
)
from orchestrator.providers.base import (
    Dataset,
    Fact,
    Facts,
    KeyOptions,
    Lifecycle,
    Page,
    Provider,
    asked_for,
    marked,
)
from orchestrator.providers.paging import PAGE_CAP
from orchestrator.providers.request import Request

_PATH: Final = "/v1/finetuning/finetuned-models"
_SIZE: Final = 100
_ENDED: Final = "https://docs.cohere.com/changelog/2025-09-15-major-command-deprecations"


class BaseModel(Table):
    """What is tuned."""

    name: str | None = None
    version: str | None = None
    base_type: Literal[
        "BASE_TYPE_UNSPECIFIED",
        "BASE_TYPE_GENERATIVE",
        "BASE_TYPE_CLASSIFICATION",
        "BASE_TYPE_RERANK",
        "BASE_TYPE_CHAT",
    ]
    strategy: Literal["STRATEGY_UNSPECIFIED", "STRATEGY_VANILLA", "STRATEGY_TFEW"] | None = None


class Hyperparameters(Table):
    """The documented ranges: Cohere's archived chat fine-tuning guide."""

    early_stopping_patience: int | None = Field(default=None, ge=0, le=10)
    early_stopping_threshold: float | None = Field(default=None, ge=0.001, le=0.1)
    train_batch_size: int | None = Field(default=None, ge=2, le=16)
    train_epochs: int | None = Field(default=None, ge=1, le=10)
    learning_rate: float | None = Field(default=None, ge=0.00005, le=0.1)
    lora_alpha: int | None = None
    lora_rank: int | None = None
    lora_target_modules: (
        Literal[
            "LORA_TARGET_MODULES_UNSPECIFIED",
            "LORA_TARGET_MODULES_QV",
            "LORA_TARGET_MODULES_QKVO",
            "LORA_TARGET_MODULES_QKVO_FFN",
        ]
        | None
    ) = None


class Wandb(Table):
    """Where the training reports to; the key is a reference, resolved just before it is sent."""

    project: str = Field(min_length=1)
    api_key: SecretRef
    entity: str | None = None


class Settings(Table):
    """What to train, from which data, how."""

    base_model: BaseModel
    dataset_id: str = Field(min_length=1)
    hyperparameters: Hyperparameters | None = None
    multi_label: bool | None = None
    wandb: Wandb | None = None


class CohereSpec(Spec):
    """The fields of a FinetunedModel that a request may set; the marker goes to the end of `name`."""

    named: ClassVar[bool] = True
    base: ClassVar[str] = "settings.base_model.base_type"
    secrets: ClassVar[tuple[str, ...]] = ("settings.wandb.api_key",)

    name: str | None = Field(default=None, min_length=1)
    settings: Settings


class Cohere(Provider):
    """Creating queues the training; it cannot be cancelled, only deleted."""

    kind = "cohere"
    title = "Cohere"
    base_url = "https://api.cohere.com"
    docs = "https://docs.cohere.com/v1/reference/createfinetunedmodel"
    # In the order in which its SDK looks for them.
    credentials: ClassVar[Mapping[str, tuple[str, ...]]] = {"api_key": ("CO_API_KEY", "COHERE_API_KEY")}
    headers: ClassVar[Mapping[str, str]] = {"X-Client-Name": "orchestrator"}
    Options = KeyOptions
    Spec = CohereSpec
    identity_fields = ("settings.dataset_id", "settings.base_model.base_type")
    # Without STATUS_UNSPECIFIED on purpose: it means nothing.
    status_map: ClassVar[Mapping[str, Status]] = {
        "STATUS_QUEUED": Status.QUEUED,
        "STATUS_FINETUNING": Status.RUNNING,
        "STATUS_DEPLOYING_API": Status.RUNNING,
        "STATUS_READY": Status.SUCCEEDED,
        "STATUS_PAUSED": Status.SUCCEEDED,
        "STATUS_TEMPORARILY_OFFLINE": Status.SUCCEEDED,
        "STATUS_FAILED": Status.FAILED,
        "STATUS_DELETED": Status.LOST,
    }
    facts = Facts(
        create_is_paid=Fact(True, docs),
        marker_field=Fact("name", docs),
        newest_first=Fact(True, "https://docs.cohere.com/v1/reference/listfinetunedmodels"),
    )
    lifecycle = Lifecycle(
        ended=date(2025, 9, 15),
        message="Cohere ended fine-tuning on 2025-09-15; earlier models can no longer be reached",
        source=_ENDED,
    )

    def body(self, request: Request[CohereSpec]) -> JsonObject:
        """Add the marker to the name."""
        return request.body(name=marked(request.name, request.marker, space="-"))

    async def create(self, request: Request[CohereSpec]) -> Snapshot:
        """Queue the training."""
        body = self.body(request)
        reply = await self.http.call("POST", _PATH, json=body, creating=True, expect=(200, 201))
        with after_create():
            return self._model(reply.payload)

    async def list(self, cursor: str | None = None) -> Page:
        """Read up to 100 models, newest first."""
        params: dict[str, str | int] = {"page_size": _SIZE, "order_by": "created_at desc"}
        if cursor is not None:
            params["page_token"] = cursor
        reply = await self.http.call("GET", _PATH, params=params, endpoint=True)
        page = record(reply.payload, "the page")
        rows = records(page.get("finetuned_models"), "finetuned_models")
        return Page(items=tuple(map(self._snapshot, rows)), next=maybe_text(page, "next_page_token") or None)

    async def get(self, remote_id: str) -> Snapshot:
        """Read one."""
        reply = await self.http.call("GET", f"{_PATH}/{segment(remote_id)}")
        return asked_for(self._model(reply.payload), remote_id)

    async def delete(self, remote_id: str) -> None:
        """Delete it, the only way to abandon it."""
        await self.http.call("DELETE", f"{_PATH}/{segment(remote_id)}", expect=range(200, 300))

    async def datasets(self) -> tuple[Dataset, ...]:
        """Read all datasets, page by page."""
        found: dict[str, Dataset] = {}
        for page in range(PAGE_CAP):
            params: dict[str, str | int] = {"limit": _SIZE, "offset": page * _SIZE}
            reply = await self.http.call("GET", "/v1/datasets", params=params, endpoint=True)
            rows = records(record(reply.payload, "the page").get("datasets"), "datasets")
            known = len(found)
            found |= {one.id: one for one in map(self._dataset, rows)}
            if len(rows) < _SIZE or len(found) == known:
                return tuple(found.values())
        raise Misread("the listing of datasets does not end")

    async def result(self, snapshot: Snapshot) -> JsonObject | None:
        """Return the model name for inference."""
        return {"model": f"{snapshot.remote_id}-ft"}

    def _dataset(self, row: Mapping[str, Any]) -> Dataset:
        status = self.shown(word(row, "validation_status")) or None
        return Dataset(id=remote_id(row.get("id")), name=self.shown(maybe_text(row, "name")), status=status)

    def _model(self, payload: Any) -> Snapshot:
        return self._snapshot(record(record(payload, "the answer").get("finetuned_model"), "finetuned_model"))

    def _snapshot(self, item: Mapping[str, Any]) -> Snapshot:
        # Only the identity fields are kept: `settings.wandb` repeats the key that was sent.
        settings = record(item.get("settings", {}), "settings")
        record(settings.get("base_model", {}), "base_model")
        name = text(item, "name")
        return self.snapshot(
            item,
            remote_id=remote_id(item.get("id")),
            word=word(item, "status"),
            name=name,
            marked=name,
            created_at=moment(item.get("created_at")),
        )
