"""Oxen's fine-tunes: docs.oxen.ai/fine-tuning-api, specification 0.224.2, read November 2026.

Creating makes a draft that costs nothing; `actions/run` starts it. The request has no field for a
marker, so a draft whose answer was lost is recognised by its fields and its time.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any, ClassVar, Final, Literal

from pydantic import ConfigDict, Field

from orchestrator.config.manifest import Spec, Table
from orchestrator.core.job import JsonObject
from orchestrator.core.run import Run, Snapshot, Status
from orchestrator.core.text import clean
from orchestrator.errors import Doubt, Missing, Rejected
from orchestrator.providers._oxen_params import doubts
from orchestrator.providers._read import (
    after_create,
    maybe_text,
    moment,
    record,
    records,
    remote_id,
    segment,
    word,
)
from orchestrator.providers.base import Fact, Facts, KeyOptions, Page, Provider, asked_for
from orchestrator.providers.request import Request

_SIZE: Final = 100
_PART = r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$"
_EARLY: Final = timedelta(minutes=10)
"""How far its clock may be behind ours."""
_CANDIDATES: Final = 200
"""How many likely drafts are read in full, newest first; each costs a request."""
_COMMIT = re.compile(r"[0-9a-f]{16,64}")
_DEFAULTS: Final[Mapping[str, Any]] = {"use_lora": True}
_DOCS = "https://docs.oxen.ai/fine-tuning-api"


class OxenOptions(KeyOptions):
    """`[providers.NAME]` of Oxen: one account is one repository."""

    namespace: str = Field(pattern=_PART)
    repo: str = Field(pattern=_PART)


class TrainingParams(Table):
    """The documented parameters; others are passed on, since they differ by `script_type`."""

    model_config = ConfigDict(extra="allow")

    batch_size: int | None = None
    caption_column: str | None = None
    gradient_accumulation: int | None = None
    image_column: str | None = None
    learning_rate: float | None = None
    lora_alpha: int | None = None
    lora_rank: int | None = None
    sample_every: int | None = None
    samples: int | None = None
    steps: int | None = None
    timestep_type: str | None = None
    use_lora: bool | None = None


class OxenSpec(Spec):
    """The fields of CreateFineTuneRequest; there is no name."""

    base: ClassVar[str] = "base_model"

    resource: str = Field(min_length=1)
    base_model: str = Field(min_length=1)
    script_type: Literal[
        "text_generation",
        "text_chat_messages",
        "image_generation",
        "image_editing",
        "image_to_text",
        "image_to_video",
        "text_to_video",
        "multi_image_editing",
    ]
    training_params: TrainingParams | None = None
    is_public: bool | None = None
    oxen_model_path: str | None = None

    @classmethod
    def doubts(cls, spec: Mapping[str, Any]) -> Iterator[Doubt]:
        """Find undocumented parameters, and a resource without a branch."""
        resource = str(spec["resource"])
        if not all(resource.partition("/")):
            yield Doubt(
                ("resource",), "not of the form branch/path", f'did you mean "main/{resource.strip("/")}"?'
            )
        yield from doubts(spec["script_type"], spec.get("training_params") or {})


class Oxen(Provider):
    """Creating makes a draft, and the step `run` starts it; the job can be stopped."""

    kind = "oxen"
    title = "Oxen.ai"
    base_url = "https://hub.oxen.ai"
    docs = f"{_DOCS}/fine_tunes/create-a-fine-tune-job"
    credentials: ClassVar[Mapping[str, tuple[str, ...]]] = {"api_key": ("OXEN_API_KEY",)}
    Options = OxenOptions
    Spec = OxenSpec
    options: OxenOptions
    identity_fields = ("resource", "base_model", "script_type", "training_params")
    status_map: ClassVar[Mapping[str, Status]] = {
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
    }
    facts = Facts(
        create_is_paid=Fact(False, f"{_DOCS}/fine_tunes/run-a-fine-tune-job"),
        has_cancel=Fact(True, f"{_DOCS}/fine_tunes/stop-a-fine-tune-job"),
        newest_first=Fact(True, f"{_DOCS}/fine_tunes/list-fine-tunes-for-a-user"),
    )
    steps = ("run",)
    drafts = frozenset({"created", "tokenizing"})

    @property
    def _path(self) -> str:
        return f"/api/repos/{self.options.namespace}/{self.options.repo}/fine_tunes"

    @classmethod
    def matches(cls, run: Run, snapshot: Snapshot) -> bool:
        """Recognise a draft by its fields and, if `run` was sent, by its time: there is no marker."""
        if run.sent_at is not None and (
            snapshot.created_at is None or snapshot.created_at < run.sent_at - _EARLY
        ):
            return False
        return cls.same_work(run, snapshot)

    @classmethod
    def same_work(cls, run: Run, snapshot: Snapshot) -> bool:
        """Compare the fields, allowing for the two forms of a resource and for explicit defaults."""
        asked, shown = cls.identity(run.spec), snapshot.identity
        return (
            all(shown.get(key, asked.get(key)) == asked.get(key) for key in ("base_model", "script_type"))
            and _same_resource(asked.get("resource"), shown.get("resource", asked.get("resource")))
            and _same_params(asked.get("training_params"), shown.get("training_params"))
        )

    async def create(self, request: Request[OxenSpec]) -> Snapshot:
        """Make the draft, which trains nothing yet."""
        reply = await self.http.call(
            "POST", self._path, json=self.body(request), creating=True, expect=(200, 201)
        )
        with after_create():
            return self._job(reply.payload)

    async def list(self, cursor: str | None = None) -> Page:
        """Read page number `cursor`, newest first."""
        page = int(cursor or 1)
        params: dict[str, str | int] = {"page": page, "page_size": _SIZE, "sort": "newest"}
        reply = await self.http.call("GET", self._path, params=params, endpoint=True)
        rows = records(record(reply.payload, "the page").get("fine_tunes"), "fine_tunes")
        items = tuple(map(self._snapshot, rows))
        return Page(items=items, next=str(page + 1) if _may_go_on(len(items)) else None)

    async def find(self, run: Run, listed: Sequence[Snapshot]) -> tuple[Snapshot, ...]:
        """Read each likely draft in full, since a listing shows neither data nor parameters."""
        found = []
        likely = [snapshot for snapshot in listed if self.matches(run, snapshot)]
        for snapshot in likely[:_CANDIDATES]:
            try:
                full = await self.get(snapshot.remote_id)
            except Missing:
                continue
            if self.matches(run, full):
                found.append(full)
        return tuple(sorted(found, key=lambda one: str(one.created_at), reverse=True))

    async def get(self, remote_id: str) -> Snapshot:
        """Read one in full."""
        reply = await self.http.call("GET", f"{self._path}/{segment(remote_id)}")
        return asked_for(self._job(reply.payload), remote_id)

    async def step(self, name: str, run: Run) -> Snapshot | None:
        """Start the draft unless it has started: what a second `run` would do is not documented."""
        if run.remote_id is None:
            raise ValueError("a run that has no id yet has no steps")
        before = await self.get(run.remote_id)
        if before.provider_status not in self.drafts:
            return before
        try:
            reply = await self.http.call("POST", f"{self._path}/{segment(run.remote_id)}/actions/run")
        except Rejected:
            after = await self.get(run.remote_id)
            if after.provider_status in self.drafts:
                raise
            return after
        return self._job(reply.payload)

    async def cancel(self, remote_id: str) -> None:
        """Stop it."""
        await self.http.call("POST", f"{self._path}/{segment(remote_id)}/actions/stop")

    async def delete(self, remote_id: str) -> None:
        """Delete it."""
        await self.http.call("DELETE", f"{self._path}/{segment(remote_id)}", expect=range(200, 300))

    async def result(self, snapshot: Snapshot) -> JsonObject | None:
        """Return the model that the job reports, else the job's id."""
        reply = await self.http.call("GET", f"{self._path}/{segment(snapshot.remote_id)}")
        job = record(record(reply.payload, "the answer").get("fine_tune"), "fine_tune")
        made = {key: _place(job.get(key)) for key in ("deployed_model", "output_resource")}
        extras = {key: value for key, value in made.items() if value}
        return {"model": next(iter(extras.values()), snapshot.remote_id), **extras}

    def _job(self, payload: Any) -> Snapshot:
        # The envelope's own `status` is about the request, not the job.
        return self._snapshot(record(record(payload, "the answer").get("fine_tune"), "fine_tune"))

    def _snapshot(self, item: Mapping[str, Any]) -> Snapshot:
        shown = {**item, "resource": _place(item["resource"])} if item.get("resource") is not None else item
        return self.snapshot(
            shown,
            remote_id=remote_id(item.get("id")),
            word=word(item, "status"),
            name=maybe_text(item, "name"),
            created_at=moment(item.get("created_at"), item.get("inserted_at")),
            message=maybe_text(item, "error"),
        )


def _may_go_on(count: int) -> bool:
    """Say whether another page may follow one with `count` entries.

    The largest page size is not documented, so a round number below ours may be the server's limit.
    """
    return count >= _SIZE or (count > 0 and (count % 10 == 0 or count == 25))


def _place(value: Any) -> str:
    """Write a resource, which is a text or `{path, version}`, as `version/path`."""
    match value:
        case str():
            return clean(value)
        case {"path": str(path), "version": str(version)} if version:
            return clean(f"{version}/{path}")
        case {"path": str(path)}:
            return clean(path)
        case _:
            return ""


def _same_resource(asked: str | None, shown: str | None) -> bool:
    """Compare `branch/path`; the answer may have a commit in place of the branch, or neither."""
    if asked is None or shown is None or asked == shown:
        return True
    branch, _, path = shown.partition("/")
    if _COMMIT.fullmatch(branch):
        return asked.partition("/")[2] == path
    return asked.partition("/")[2] == shown


def _same_params(asked: Any, shown: Any) -> bool:
    """Compare parameters, ignoring explicit defaults."""
    return shown is None or _told(asked or {}) == _told(shown)


def _told(params: Any) -> Mapping[str, Any]:
    given = record(params, "training_params")
    return {
        key: value for key, value in given.items() if value is not None and (key, value) != ("use_lora", True)
    }
