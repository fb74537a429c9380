"""Cloudflare's adapters: developers.cloudflare.com/workers-ai/fine-tunes/loras, read November 2026.

No training happens there: a finetune is a record to which the two files of a ready adapter are
uploaded. It has no status, no single read, no cancel and no delete.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Final

import httpx
from pydantic import Field

from orchestrator.config.manifest import AccountOptions, Spec
from orchestrator.config.secret import Secret, SecretRef
from orchestrator.core.job import Input, JsonObject
from orchestrator.core.run import Run, Snapshot, Status
from orchestrator.errors import Denied, Misread, Rejected
from orchestrator.providers._read import (
    after_create,
    error_text,
    maybe_text,
    moment,
    record,
    records,
    remote_id,
    segment,
    text,
    word,
)
from orchestrator.providers._upload import check_unchanged, opened
from orchestrator.providers.auth import Bearer, Headers
from orchestrator.providers.base import Fact, Facts, Page, Provider, marked
from orchestrator.providers.request import Request, name_of

FILES: Final = ("adapter_config.json", "adapter_model.safetensors")
_API: Final = "https://developers.cloudflare.com/api/resources/ai/subresources/finetunes"
_LORAS: Final = "https://developers.cloudflare.com/workers-ai/fine-tunes/loras/"


class CloudflareOptions(AccountOptions):
    """`[providers.NAME]` of Cloudflare: `api_token`, or `email` and `api_key`."""

    account_id: str = Field(pattern=r"^[A-Za-z0-9_-]{1,128}$")
    api_token: SecretRef | None = None
    email: str | SecretRef | None = None
    api_key: SecretRef | None = None


class CloudflareSpec(Spec):
    """The fields of CreateFinetuneRequest, and `adapter`, the folder with the two files."""

    named: ClassVar[bool] = True
    base: ClassVar[str] = "model"
    folders: ClassVar[Mapping[str, tuple[str, ...]]] = {"adapter": FILES}

    model: str = Field(min_length=1)
    name: str | None = Field(default=None, min_length=1)
    description: str | None = None
    public: bool | None = None
    adapter: str = Field(min_length=1)


class Cloudflare(Provider):
    """Creating makes a free record; it is ready once both files are uploaded."""

    kind = "cloudflare"
    title = "Cloudflare Workers AI"
    base_url = "https://api.cloudflare.com/client/v4"
    docs = f"{_API}/methods/create"
    credentials: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "api_token": ("CLOUDFLARE_API_TOKEN",),
        "email": ("CLOUDFLARE_EMAIL",),
        "api_key": ("CLOUDFLARE_API_KEY",),
    }
    Options = CloudflareOptions
    Spec = CloudflareSpec
    options: CloudflareOptions
    identity_fields = ("model",)
    # Our own words: the provider reports nothing about uploads.
    status_map: ClassVar[Mapping[str, Status]] = {
        "created": Status.QUEUED,
        "uploading": Status.RUNNING,
        "ready": Status.SUCCEEDED,
    }
    facts = Facts(
        create_is_paid=Fact(False, _LORAS),
        marker_field=Fact("description", f"{_API}/methods/create"),
    )
    steps = FILES
    drafts = frozenset({"created", "uploading"})

    @property
    def _path(self) -> str:
        return f"/accounts/{self.options.account_id}/ai/finetunes"

    @classmethod
    def auth(cls, options: AccountOptions, secrets: Mapping[str, Secret]) -> httpx.Auth:
        """Send the API token, else e-mail and key."""
        if "api_token" in secrets:
            return Bearer(secrets["api_token"])
        if "email" in secrets and "api_key" in secrets:
            return Headers(
                {"X-Auth-Email": secrets["email"].reveal(), "X-Auth-Key": secrets["api_key"].reveal()}
            )
        raise Denied(
            "no credential: set CLOUDFLARE_API_TOKEN, or CLOUDFLARE_EMAIL and CLOUDFLARE_API_KEY, "
            "or api_token, or email and api_key, in the account's table"
        )

    def body(self, request: Request[CloudflareSpec]) -> JsonObject:
        """Add the name, and the marker to the description; leave out the folder, which is uploaded."""
        described = marked(request.spec.description or "", request.marker)
        body = request.body(name=request.name, description=described)
        return {key: value for key, value in body.items() if key != "adapter"}

    async def create(self, request: Request[CloudflareSpec]) -> Snapshot:
        """Make the record."""
        body = self.body(request)
        reply = await self.http.call("POST", self._path, json=body, creating=True, expect=(200, 201))
        with after_create():
            return self._snapshot(record(self._accepted(reply.payload), "result"))

    async def list(self, cursor: str | None = None) -> Page:
        """Read all records; the listing has no pages."""
        reply = await self.http.call("GET", self._path, endpoint=True)
        try:
            found = self._accepted(reply.payload)
        except Rejected as error:
            raise Misread(error.message) from error
        # Three shapes are documented: a list, a list within a list, one object.
        while isinstance(found, list) and len(found) == 1 and isinstance(found[0], list):
            found = found[0]
        rows = records(found if isinstance(found, list) else [found], "result")
        return Page(items=tuple(map(self._snapshot, rows)))

    async def step(self, name: str, run: Run) -> Snapshot | None:
        """Upload the file `name`; one that is already there is ours, since files cannot be replaced."""
        if run.remote_id is None:
            raise ValueError("a run that has no id yet has no steps")
        source = _input(run, name)
        path = f"{self._path}/{segment(run.remote_id)}/finetune-assets"
        with opened(source, name) as file:
            await check_unchanged(file, source, name)
            try:
                reply = await self.http.call(
                    "POST",
                    path,
                    data={"file_name": name},
                    files={"file": (name, file)},
                    expect=(200, 201),
                )
                self._accepted(reply.payload)
            except Rejected as error:
                if error.code != 409 and "already" not in error.message.lower():
                    raise
        said = "ready" if name == FILES[-1] else "uploading"
        named = name_of(run)
        return Snapshot(
            remote_id=run.remote_id, status=self.status_map[said], provider_status=said, name=named
        )

    async def result(self, snapshot: Snapshot) -> JsonObject | None:
        """Return the name, which inference accepts like the id."""
        return {"model": snapshot.name or snapshot.remote_id, "id": snapshot.remote_id}

    def _accepted(self, payload: Any) -> Any:
        """Return the envelope's result; its `success` can be false even with status 200."""
        envelope = record(payload, "the answer")
        if envelope.get("success") is True:
            return envelope.get("result")
        said = self.shown(error_text({"errors": envelope.get("errors")})) or self.http.withheld
        if envelope.get("success") is False and said:
            raise Rejected(f"it was refused: {said}", code=200)
        raise Misread("the answer does not say whether it succeeded", code=200)

    def _snapshot(self, item: Mapping[str, Any]) -> Snapshot:
        return self.snapshot(
            {"model": text(item, "model")},
            remote_id=remote_id(item.get("id")),
            word=word(item, "status") or "created",
            name=text(item, "name"),
            marked=maybe_text(item, "description"),
            created_at=moment(item.get("created_at")),
        )


def _input(run: Run, name: str) -> Input:
    found = next((one for key, one in run.inputs.items() if key.rpartition("/")[2] == name), None)
    if found is None:
        raise Rejected(f"{name} is not part of this run's plan")
    return found
