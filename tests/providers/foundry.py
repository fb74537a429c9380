"""A provider made up of what the next ones need, and the driver for it."""

import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar
from urllib.parse import parse_qsl, unquote, urlsplit

import httpx

from orchestrator.config.manifest import AccountOptions, Spec
from orchestrator.config.secret import Secret, SecretRef
from orchestrator.core.job import JsonObject
from orchestrator.core.run import Run, Snapshot, Status
from orchestrator.errors import ProviderError, Throttled, Unclear
from orchestrator.providers._links import next_link, page_cursor, page_query
from orchestrator.providers._read import after_create, moment, record, records, resource_name, segment, text
from orchestrator.providers._upload import check_unchanged, opened, put
from orchestrator.providers.auth import AccessToken, Signature
from orchestrator.providers.base import Fact, Facts, Page, Provider, credential
from orchestrator.providers.request import Request

from .canned import reply

JOBS = "/v1/jobs"
LABELS = ("ours", "a b&c")
KEY = "signing-canary-0123456789"
GRANT = "refresh-canary-0123456789"
START = datetime(2026, 11, 21, 12, tzinfo=UTC)


def arn(number: int) -> str:
    return f"arn:foundry:eu-1:77:job/tuned {number}".replace(" ", "-")


class Options(AccountOptions):
    """`[providers.NAME]`."""

    api_key: SecretRef | None = None


class FoundrySpec(Spec):
    """What is tuned."""

    model: str


class Signed(Signature):
    """HMAC over the method, the target as it is sent, and the body."""

    def __init__(self, key: str) -> None:
        self._key = key

    def signed(self, request: httpx.Request, now: datetime) -> Mapping[str, str]:
        target = request.url.raw_path.decode("ascii")
        return {"X-Signature": signature(self._key, request.method, target, request.content)}


def signature(key: str, method: str, target: str, body: bytes) -> str:
    digest = hashlib.sha256(body).hexdigest()
    return hmac.new(key.encode(), f"{method}\n{target}\n{digest}".encode(), "sha256").hexdigest()


class Foundry(Provider):
    """Signs its requests; ids are ARNs, times unix seconds, errors have names, listings page by `Link`."""

    kind = "foundry"
    title = "Foundry"
    base_url = "http://127.0.0.1"
    docs = ""
    credentials: ClassVar[Mapping[str, tuple[str, ...]]] = {"api_key": ("FOUNDRY_KEY",)}
    Options = Options
    Spec = FoundrySpec
    identity_fields = ("model",)
    status_map: ClassVar[Mapping[str, Status]] = {"training": Status.RUNNING}
    facts = Facts(marker_field=Fact("label", "this file"))
    steps = ("upload",)
    refusals: ClassVar[Mapping[str, type[ProviderError]]] = {
        "ConflictException": Unclear,
        "ThrottlingException": Throttled,
        "ALREADY_EXISTS": Unclear,
    }

    @classmethod
    def auth(cls, options: AccountOptions, secrets: Mapping[str, Secret]) -> httpx.Auth:
        return Signed(credential(secrets, "api_key", cls.credentials["api_key"]).reveal())

    def body(self, request: Request[FoundrySpec]) -> JsonObject:
        return request.body(label=request.marker)

    async def create(self, request: Request[FoundrySpec]) -> Snapshot:
        body = self.body(request)
        try:
            reply = await self.http.call("POST", JOBS, json=body, creating=True, expect=(201,))
        except Unclear as error:
            if error.name != "ALREADY_EXISTS":
                raise
            return await self.get(arn(1))  # its id was ours to choose
        with after_create():
            return self._job(reply.payload)

    async def list(self, cursor: str | None = None) -> Page:
        query = page_query(cursor) if cursor else [*(("label", one) for one in LABELS), ("limit", "2")]
        reply = await self.http.call("GET", JOBS, params=query, endpoint=True)
        rows = records(reply.payload, "the jobs")
        link = next_link(reply.headers)
        following = page_cursor(link, self.http.base, JOBS) if link else None
        return Page(items=tuple(map(self._job, rows)), next=following)

    async def get(self, remote_id: str) -> Snapshot:
        reply = await self.http.call("GET", f"{JOBS}/{segment(remote_id)}")
        return self._job(reply.payload)

    async def step(self, name: str, run: Run) -> Snapshot | None:
        source = run.inputs["data"]
        with opened(source, "data") as file:
            await check_unchanged(file, source, "data")
            told = await self.http.call("POST", "/v1/files", json={}, expect=(302, 409))
            if told.status == 302:
                await put(self.http, told.headers["location"], file, allowed=self.upload_origins)
        return None

    def _job(self, payload: Any) -> Snapshot:
        item = record(payload, "the job")
        return self.snapshot(
            item,
            remote_id=resource_name(item.get("arn")),
            word=text(item, "state"),
            marked=text(item, "label"),
            message=item.get("reason"),
            created_at=moment(item.get("created")),
        )


class TokenFoundry(Foundry):
    """Takes an access token in place of a signature."""

    token_url: ClassVar[str]
    now: ClassVar[list[datetime]] = [START]

    @classmethod
    def auth(cls, options: AccountOptions, secrets: Mapping[str, Secret]) -> httpx.Auth:
        key = credential(secrets, "api_key", cls.credentials["api_key"])
        grant = {"grant_type": "refresh_token", "refresh_token": key.reveal()}
        return AccessToken(lambda: httpx.Request("POST", cls.token_url, data=grant), clock=lambda: cls.now[0])


@dataclass
class Works:
    """The provider's side: what it holds, and what it makes of a request's bytes."""

    jobs: list[dict[str, Any]] = field(default_factory=list)
    seen: list[tuple[str, str]] = field(default_factory=list)
    url: str = ""
    uploads: str = ""
    link: str = ""
    """In place of its own address for the next page."""
    refuse: bytes = b""
    """In place of an answer to a create."""
    tokens: frozenset[str] | None = None
    """Which are accepted; None where requests are signed."""

    def job(self, number: int) -> dict[str, Any]:
        created = int((START + timedelta(minutes=number)).timestamp())
        return {"arn": arn(number), "state": "training", "label": "", "model": "b", "created": created}

    def answer(self, request: bytes) -> bytes:
        head, _, body = request.partition(b"\r\n\r\n")
        line, *lines = head.decode().split("\r\n")
        method, target, _ = line.split(" ")
        headers = {name.lower(): value for name, _, value in (one.partition(": ") for one in lines)}
        self.seen.append((method, target))
        if not self._proven(method, target, headers, body):
            return reply(401, b'{"message": "who are you?"}')
        path, query = urlsplit(target).path, urlsplit(target).query
        match method, path:
            case "POST", "/v1/jobs":
                if self.refuse:
                    return self.refuse
                self.jobs.append({**self.job(len(self.jobs) + 1), **json.loads(body)})
                return reply(201, json.dumps(self.jobs[-1]).encode())
            case "POST", "/v1/files":
                return reply(302, b"<html>see there", {"Location": self.uploads})
            case "GET", "/v1/jobs":
                return self._page(parse_qsl(query))
            case _:
                name = path.removeprefix("/v1/jobs/")
                found = [job for job in self.jobs if job["arn"] == unquote(name)]
                return reply(200, json.dumps(found[0]).encode()) if found and "/" not in name else reply(404)

    def _proven(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> bool:
        if self.tokens is None:
            return headers.get("x-signature") == signature(KEY, method, target, body)
        return headers.get("authorization", "").removeprefix("Bearer ") in self.tokens

    def _page(self, query: list[tuple[str, str]]) -> bytes:
        asked = dict(query)
        assert [value for key, value in query if key == "label"] == list(LABELS)
        start = int(asked.get("from", 0))
        rows, rest = self.jobs[start : start + 2], self.jobs[start + 2 :]
        again = "&".join(f"label={value}" for value in ("ours", "a%20b%26c"))
        here = self.link or f"{self.url}/v1/jobs?{again}&from={start + 2}"
        linked = f'<{self.url}/v1/jobs?from=0>; rel="first", <{here}>; title="a, b"; rel="last next"'
        return reply(200, json.dumps(rows).encode(), {"Link": linked} if rest else {})
