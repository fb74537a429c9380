"""Cartesia's voices: docs.cartesia.ai/api-reference/fine-tunes, version 2026-03-01, read November 2026."""

from collections.abc import Mapping
from typing import Any, ClassVar, Final

from pydantic import Field

from orchestrator.config.manifest import Spec
from orchestrator.core.job import JsonObject
from orchestrator.core.run import Snapshot, Status
from orchestrator.errors import Misread, Missing
from orchestrator.providers._read import after_create, record, records, remote_id, segment, text, word
from orchestrator.providers.base import Dataset, Fact, Facts, KeyOptions, Page, Provider, asked_for, marked
from orchestrator.providers.paging import PAGE_CAP
from orchestrator.providers.request import Request

VERSION: Final = "2026-03-01"
_LIMIT: Final = 100
_BASE: Final = "sonic-3-2026-01-12"
_BASE_SOURCE: Final = "https://docs.cartesia.ai/changelog/2026"


class CartesiaSpec(Spec):
    """The fields of CreateFineTuneRequest; the marker goes to the end of `description`."""

    named: ClassVar[bool] = True
    base: ClassVar[str] = "model_id"

    name: str | None = Field(default=None, min_length=1)
    description: str
    language: str = Field(min_length=1)
    model_id: str = Field(min_length=1)
    dataset: str = Field(min_length=1)


class Cartesia(Provider):
    """Creating queues the training, which costs. It cannot be cancelled; listings have no dates or order."""

    kind = "cartesia"
    title = "Cartesia"
    base_url = "https://api.cartesia.ai"
    docs = "https://docs.cartesia.ai/api-reference/fine-tunes/create"
    credentials: ClassVar[Mapping[str, tuple[str, ...]]] = {"api_key": ("CARTESIA_API_KEY",)}
    headers: ClassVar[Mapping[str, str]] = {"Cartesia-Version": VERSION}
    Options = KeyOptions
    Spec = CartesiaSpec
    identity_fields = ("language", "model_id", "dataset")
    status_map: ClassVar[Mapping[str, Status]] = {
        "created": Status.QUEUED,
        "training": Status.RUNNING,
        "completed": Status.SUCCEEDED,
        "failed": Status.FAILED,
    }
    facts = Facts(
        create_is_paid=Fact(True, "https://docs.cartesia.ai/pricing"),
        marker_field=Fact("description", "https://docs.cartesia.ai/api-reference/fine-tunes/create"),
    )

    @classmethod
    def doubt(cls, spec: JsonObject) -> str | None:
        """Warn about a base that is no longer trained; not an error, since a new one may come any day."""
        if spec.get("model_id") == _BASE:
            return None
        return f"since March 2026 Cartesia fine-tunes only the base {_BASE} ({_BASE_SOURCE})"

    def body(self, request: Request[CartesiaSpec]) -> JsonObject:
        """Add the name, and the marker to the description."""
        described = marked(request.spec.description, request.marker)
        return request.body(name=request.name, description=described)

    async def create(self, request: Request[CartesiaSpec]) -> Snapshot:
        """Queue the training."""
        body = self.body(request)
        reply = await self.http.call("POST", "/fine-tunes/", json=body, creating=True, expect=(200, 201))
        with after_create():
            return self._snapshot(reply.payload)

    async def list(self, cursor: str | None = None) -> Page:
        """Read the next 100 fine-tunes after the id `cursor`."""
        params: dict[str, str | int] = {"limit": _LIMIT}
        if cursor is not None:
            params["starting_after"] = cursor
        reply = await self.http.call("GET", "/fine-tunes/", params=params, endpoint=True)
        rows, more = _page(reply.payload)
        items = tuple(map(self._snapshot, rows))
        if more and not items:
            raise Misread("an empty page claims that there is more")
        return Page(items=items, next=items[-1].remote_id if more else None)

    async def get(self, remote_id: str) -> Snapshot:
        """Read one."""
        reply = await self.http.call("GET", f"/fine-tunes/{segment(remote_id)}")
        return asked_for(self._snapshot(reply.payload), remote_id)

    async def delete(self, remote_id: str) -> None:
        """Delete it; whether that stops a training is not documented."""
        await self.http.call("DELETE", f"/fine-tunes/{segment(remote_id)}", expect=range(200, 300))

    async def datasets(self) -> tuple[Dataset, ...]:
        """Read all datasets, page by page."""
        found: dict[str, Dataset] = {}
        params: dict[str, str | int] = {"limit": _LIMIT}
        for _ in range(PAGE_CAP):
            reply = await self.http.call("GET", "/datasets/", params=params, endpoint=True)
            rows, more = _page(reply.payload)
            page = {
                (key := remote_id(row.get("id"))): Dataset(id=key, name=self.shown(text(row, "name")))
                for row in rows
            }
            if more and not page.keys() - found.keys():
                raise Misread("the listing of datasets repeats itself")
            found |= page
            if not more:
                return tuple(found.values())
            params["starting_after"] = remote_id(rows[-1].get("id"))
        raise Misread("the listing of datasets does not end")

    async def result(self, snapshot: Snapshot) -> JsonObject | None:
        """Return the voices that the training made, the first one's id as the model."""
        path = f"/fine-tunes/{segment(snapshot.remote_id)}/voices"
        try:
            reply = await self.http.call("GET", path, params={"limit": _LIMIT})
        except Missing:  # the voices may appear later than the status `completed`
            return None
        rows, _ = _page(reply.payload)
        voices = [{"id": remote_id(row.get("id")), "name": self.shown(text(row, "name"))} for row in rows]
        return {"model": voices[0]["id"], "voices": voices} if voices else None

    def _snapshot(self, payload: Any) -> Snapshot:
        item = record(payload, "the fine-tune")
        return self.snapshot(
            item,
            remote_id=remote_id(item.get("id")),
            word=word(item, "status"),
            name=text(item, "name"),
            marked=text(item, "description"),
        )


def _page(payload: Any) -> tuple[list[Mapping[str, Any]], bool]:
    page = record(payload, "the page")
    more = page.get("has_more")
    if not isinstance(more, bool):
        raise Misread("has_more is neither true nor false")
    return records(page.get("data"), "data"), more
