"""The drivers by values: what their models take, what they send, how they know their own again."""

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]  # its stubs are no dependency
from pydantic import ValidationError

from orchestrator.config.secret import Secret
from orchestrator.core.job import find_marker
from orchestrator.core.run import Run, Snapshot, Status
from orchestrator.errors import Denied, Misread, Rejected, Unclear
from orchestrator.providers.base import Page, Provider, SecretResolver, marked
from orchestrator.providers.oxen import Oxen
from orchestrator.providers.paging import pages
from orchestrator.providers.registry import open_provider, registry
from orchestrator.providers.request import Request

from .canned import canned, reply

SPECS = Path(__file__).parents[1] / "specs"
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
MARKER = "ft1-" + "a2" * 10
CHAT: Mapping[str, Any] = {"base_model": {"base_type": "BASE_TYPE_CHAT"}, "dataset_id": "ds-1"}
LEAST: Mapping[str, Mapping[str, Any]] = {
    "cartesia": {"description": "d", "language": "en", "model_id": "m", "dataset": "ds"},
    "oxen": {"resource": "main/a.parquet", "base_model": "b", "script_type": "text_generation"},
    "cloudflare": {"model": "@cf/m", "adapter": "dir"},
    "cohere": {"settings": CHAT},
}
TABLES: Mapping[str, Mapping[str, Any]] = {
    "cartesia": {},
    "oxen": {"namespace": "acme", "repo": "support"},
    "cloudflare": {"account_id": "0123456789abcdef"},
    "cohere": {},
}
ENV = {
    "CARTESIA_API_KEY": "sesame",
    "OXEN_API_KEY": "sesame",
    "CLOUDFLARE_API_TOKEN": "sesame",
    "CO_API_KEY": "sesame",
}
KINDS = sorted(registry())


def run_of(kind: str, spec: Mapping[str, Any], **changes: Any) -> Run:
    plain = Run(
        id="r1",
        project="p",
        job="the-job",
        account=kind,
        kind=kind,
        fingerprint="f",
        attempt=1,
        marker=MARKER,
        spec=spec,
        created_at=NOW,
        updated_at=NOW,
        sent_at=NOW,
    )
    return replace(plain, **changes)


async def opened(kind: str, url: str, folder: Path, **table: Any) -> Provider:
    cls = registry()[kind]
    options = cls.Options.model_validate({"kind": kind, "base_url": url, **TABLES[kind], **table})
    return await open_provider(cls, options, SecretResolver(root=folder, env=ENV))


def request_schema(kind: str) -> Mapping[str, Any]:
    """Take the schema of the create request out of the provider's specification."""
    document = yaml.safe_load((SPECS / f"{kind}.yaml").read_text())
    [operation] = [path["post"] for path in document["paths"].values()]
    schema = operation["requestBody"]["content"]["application/json"]["schema"]
    return {**schema, "components": document["components"], "unevaluatedProperties": False}


FULL: Mapping[str, Mapping[str, Any]] = {
    "cartesia": LEAST["cartesia"],
    "oxen": {**LEAST["oxen"], "training_params": {"lora_rank": 8, "extra": 1}, "is_public": True},
    "cloudflare": {**LEAST["cloudflare"], "description": "mine", "public": True},
    "cohere": {
        "name": "chosen",
        "settings": {
            **CHAT,
            "hyperparameters": {
                "train_epochs": 10,
                "learning_rate": 0.1,
                "lora_target_modules": "LORA_TARGET_MODULES_QV",
            },
            "multi_label": False,
            "wandb": {"project": "p", "api_key": {"env": "WANDB_TEST_KEY"}},
        },
    },
}


@pytest.mark.parametrize("spec", ["least", "full"])
@pytest.mark.parametrize("kind", KINDS)
async def test_a_create_is_what_the_specification_allows(
    kind: str, spec: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ENV, "WANDB_TEST_KEY", "w")
    asked = LEAST[kind] if spec == "least" else FULL[kind]
    registry()[kind].Spec.model_validate(asked)
    async with canned(reply(200, b"{}")) as server:
        provider = await opened(kind, server.url, tmp_path)
        with pytest.raises(Unclear):
            await provider.create(await provider.request(run_of(kind, asked)))
        await provider.close()
    [request] = server.requests
    body = json.loads(request.partition(b"\r\n\r\n")[2])
    Draft202012Validator(request_schema(kind)).validate(body)
    field = registry()[kind].facts.marker_field.value
    assert field is None or body[field].endswith(MARKER)
    assert registry()[kind].Spec.named is ("name" in body)
    assert asked.get("name", "the-job") in body.get("name", "the-job")


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("cartesia", {"language": None}),
        ("cartesia", {"language": ""}),
        ("cartesia", {"epochs": 3}),
        ("cartesia", {"dataset": 5}),
        ("oxen", {"script_type": "text"}),
        ("oxen", {"name": "n"}),
        ("oxen", {"training_params": {"lora_rank": "8"}}),
        ("oxen", {"training_params": {"lora_rank": True}}),
        ("cloudflare", {"adapter": None}),
        ("cloudflare", {"public": "yes"}),
        ("cohere", {"settings": {**CHAT, "hyperparameters": {"train_epochs": 11}}}),
        ("cohere", {"settings": {**CHAT, "hyperparameters": {"learning_rate": 1.0}}}),
        ("cohere", {"settings": {"base_model": {"base_type": "CHAT"}, "dataset_id": "d"}}),
        ("cohere", {"settings": {**CHAT, "wandb": {"project": "p", "api_key": "literal"}}}),
        ("cohere", {"status": "STATUS_READY"}),
    ],
)
def test_what_the_provider_would_refuse_is_refused_here(kind: str, change: Mapping[str, Any]) -> None:
    with pytest.raises(ValidationError):
        registry()[kind].Spec.model_validate({**LEAST[kind], **change})


@pytest.mark.parametrize("kind", KINDS)
def test_every_documented_field_is_taken(kind: str) -> None:
    schema = request_schema(kind)
    name = schema["$ref"].rpartition("/")[2]
    documented = set(schema["components"]["schemas"][name]["properties"])
    # Cohere's schema is that of the answer too: these are the provider's to write.
    theirs = {
        "id",
        "creator_id",
        "organization_id",
        "status",
        "created_at",
        "updated_at",
        "completed_at",
        "last_used",
    }
    ours = set(registry()[kind].Spec.model_fields)
    assert ours - {"adapter"} == documented - theirs


@pytest.mark.parametrize(("kind", "schema"), [("cartesia", "FineTuneStatus"), ("cohere", "Status")])
def test_every_documented_word_has_a_meaning(kind: str, schema: str) -> None:
    document = yaml.safe_load((SPECS / f"{kind}.yaml").read_text())
    documented = set(document["components"]["schemas"][schema]["enum"])
    assert set(registry()[kind].status_map) == documented - {"STATUS_UNSPECIFIED"}


def test_a_marker_stands_at_the_end() -> None:
    assert marked("", MARKER) == MARKER
    assert marked("Voice", MARKER) == f"Voice {MARKER}"
    assert find_marker(marked("name", MARKER, space="-")) == MARKER


@pytest.mark.parametrize("kind", KINDS)
async def test_a_missing_credential_is_denied_and_named(kind: str, tmp_path: Path) -> None:
    cls = registry()[kind]
    options = cls.Options.model_validate({"kind": kind, **TABLES[kind]})
    with pytest.raises(Denied) as caught:
        await open_provider(cls, options, SecretResolver(root=tmp_path, env={}))
    assert all(name in caught.value.message for names in cls.credentials.values() for name in names)


async def test_cohere_looks_for_its_key_where_its_sdk_does(tmp_path: Path) -> None:
    cls = registry()["cohere"]
    for names in (("COHERE_API_KEY",), ("CO_API_KEY", "COHERE_API_KEY")):
        secrets = SecretResolver(
            root=tmp_path, env={"CO_API_KEY": "", **{name: f"key-of-{name}" for name in names}}
        )
        async with canned(reply(200, b'{"finetuned_models": []}')) as server:
            options = cls.Options.model_validate({"kind": "cohere", "base_url": server.url})
            provider = await open_provider(cls, options, secrets)
            await provider.list()
            await provider.close()
        [request] = server.requests
        assert f"bearer key-of-{names[0]}".lower() in request.decode().lower()


async def test_a_reference_that_leads_nowhere_is_denied(tmp_path: Path) -> None:
    with pytest.raises(Denied, match="NO_SUCH_VARIABLE"):
        await opened("cartesia", "http://127.0.0.1:9", tmp_path, api_key={"env": "NO_SUCH_VARIABLE"})


async def test_a_key_that_no_header_can_carry_is_denied(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("broken-canary\nkey-in-two")
    (tmp_path / "key").chmod(0o600)
    with pytest.raises(Denied) as caught:
        await opened("cartesia", "http://127.0.0.1:9", tmp_path, api_key={"file": "key"})
    assert "canary" not in caught.value.message


def headers_of(auth: httpx.Auth) -> Mapping[str, str]:
    """Return what an auth adds to a request."""
    request = httpx.Request("GET", "http://127.0.0.1/")
    before = set(request.headers)
    [sent] = auth.sync_auth_flow(request)
    return {name: value for name, value in sent.headers.items() if name not in before}


def test_cloudflare_takes_a_token_or_both_others() -> None:
    cls = registry()["cloudflare"]
    options = cls.Options.model_validate({"kind": "cloudflare", **TABLES["cloudflare"]})
    both = {"email": Secret("a@b.c"), "api_key": Secret("k")}
    assert headers_of(cls.auth(options, both)) == {"x-auth-email": "a@b.c", "x-auth-key": "k"}
    token = cls.auth(options, {**both, "api_token": Secret("t")})
    assert headers_of(token) == {"authorization": "Bearer t"}
    with pytest.raises(Denied):
        cls.auth(options, {"email": Secret("a@b.c")})


async def test_what_the_table_says_goes_before_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ENV, "OTHER_KEY", "other")
    async with canned(reply(500)) as server:
        for table in ({"api_key": {"env": "OTHER_KEY"}}, {}):
            provider = await opened("cartesia", server.url, tmp_path, **table)
            with pytest.raises(Exception, match="500"):
                await provider.list()
            await provider.close()
        other = {"email": "a@b.c", "api_key": {"env": "OTHER_KEY"}}
        provider = await opened("cloudflare", server.url, tmp_path, **other)
        with pytest.raises(Exception, match="500"):
            await provider.list()
        await provider.close()
    first, second, third = server.requests
    assert b"Bearer other" in first
    assert b"Bearer sesame" in second
    assert b"X-Auth-Key: other" in third
    assert b"Authorization" not in third


@pytest.mark.parametrize("value", ["a/b", "..", "a?b", "", "a b", "a%2f"])
def test_what_goes_into_a_path_is_checked(value: str) -> None:
    for kind, key in (("oxen", "namespace"), ("oxen", "repo"), ("cloudflare", "account_id")):
        with pytest.raises(ValidationError):
            registry()[kind].Options.model_validate({"kind": kind, **TABLES[kind], key: value})


def draft(**changes: Any) -> Snapshot:
    identity = {
        "resource": "main/a.parquet",
        "base_model": "b",
        "script_type": "text_generation",
        "training_params": {},
    }
    plain = Snapshot(
        remote_id="x", status=Status.QUEUED, provider_status="created", identity=identity, created_at=NOW
    )
    return replace(plain, **{**changes, "identity": {**identity, **changes.pop("identity", {})}})


@pytest.mark.parametrize(
    ("snapshot", "params", "same"),
    [
        (draft(), None, True),
        (draft(created_at=NOW - timedelta(minutes=9)), None, True),
        (draft(created_at=NOW - timedelta(minutes=11)), None, False),
        (draft(created_at=None), None, False),
        (draft(identity={"base_model": "c"}), None, False),
        (draft(identity={"script_type": "text_chat_messages"}), None, False),
        (draft(identity={"resource": "main/b.parquet"}), None, False),
        (draft(identity={"resource": "dev/a.parquet"}), None, False),
        (draft(identity={"resource": "a.parquet"}), None, True),
        (draft(identity={"resource": f"{'0123456789abcdef' * 2}/a.parquet"}), None, True),
        (draft(identity={"training_params": {"lora_rank": 8}}), {"lora_rank": 8}, True),
        (draft(identity={"training_params": {"lora_rank": 8, "use_lora": True}}), {"lora_rank": 8}, True),
        (draft(identity={"training_params": {"lora_rank": 16}}), {"lora_rank": 8}, False),
        (draft(identity={"training_params": {"lora_rank": 8, "steps": 5}}), {"lora_rank": 8}, False),
        (draft(identity={"training_params": {}}), {"lora_rank": 8}, False),
        (draft(identity={"training_params": {"lora_rank": 8}}), None, False),
    ],
)
def test_a_draft_is_known_by_its_fields_and_its_time(
    snapshot: Snapshot, params: Mapping[str, Any] | None, same: bool
) -> None:
    spec = {**LEAST["oxen"], **({"training_params": params} if params else {})}
    assert Oxen.matches(run_of("oxen", spec), snapshot) is same


def test_before_it_is_sent_a_run_knows_its_work_whatever_its_time() -> None:
    # A lost database forgot when it was sent; that the account has the same work is known all the same.
    never = run_of("oxen", LEAST["oxen"], sent_at=None)
    assert Oxen.matches(never, draft())


RECORD = {"id": "c1", "name": "n", "model": "@cf/m", "created_at": "2026-11-21T12:00:00Z"}


@pytest.mark.parametrize(
    ("result", "count"),
    [([], 0), ([RECORD], 1), ([[RECORD]], 1), ([[]], 0), (RECORD, 1), ([[RECORD, RECORD]], 2)],
)
async def test_cloudflare_lists_in_three_shapes(result: object, count: int, tmp_path: Path) -> None:
    answer = reply(200, json.dumps({"success": True, "result": result}).encode())
    async with canned(answer) as server:
        provider = await opened("cloudflare", server.url, tmp_path)
        assert len((await provider.list()).items) == count
        await provider.close()


@pytest.mark.parametrize(
    ("envelope", "expected"),
    [
        ({"success": False, "errors": [{"code": "3", "message": "no"}]}, Rejected),
        ({"success": False, "errors": []}, Unclear),
        ({"success": "true", "result": RECORD}, Unclear),
        ({"result": RECORD}, Unclear),
        ({"success": True, "result": None}, Unclear),
    ],
)
async def test_cloudflare_says_no_with_200(
    envelope: object, expected: type[Exception], tmp_path: Path
) -> None:
    async with canned(reply(200, json.dumps(envelope).encode())) as server:
        provider = await opened("cloudflare", server.url, tmp_path)
        with pytest.raises(expected) as created:
            await provider.create(await provider.request(run_of("cloudflare", LEAST["cloudflare"])))
        assert type(created.value) is expected
        with pytest.raises(Misread):
            await provider.list()
        await provider.close()


class Book(Provider):
    """A provider that lists what it is told to."""

    def __init__(self, book: Mapping[str | None, Page]) -> None:
        self.book = book

    @classmethod
    def identity(cls, spec: Mapping[str, Any]) -> Mapping[str, Any]:
        return {}

    async def create(self, request: Request[Any]) -> Snapshot:
        raise NotImplementedError

    async def list(self, cursor: str | None = None) -> Page:
        return self.book[cursor]


def leaf(number: int, following: str | None) -> Page:
    return Page(items=(draft(remote_id=f"id{number}"),), next=following)


async def test_pages_end_where_the_listing_does() -> None:
    book = Book({None: leaf(1, "a"), "a": leaf(2, "b"), "b": leaf(2, None)})
    assert [page.items[0].remote_id async for page in pages(book)] == ["id1", "id2", "id2"]
    assert len([page async for page in pages(book, stop=lambda page: page.next == "b")]) == 2


@pytest.mark.parametrize(
    "book",
    [
        {None: leaf(1, "a"), "a": leaf(2, "a")},
        {None: leaf(1, "a"), "a": leaf(2, "b"), "b": leaf(3, "a")},
        {None: leaf(1, "a"), "a": leaf(1, "b"), "b": leaf(1, "c")},
        {None: leaf(1, "a"), "a": leaf(2, "b"), "b": leaf(3, "c"), "c": leaf(4, "d"), "d": leaf(5, "e")},
    ],
)
async def test_pages_that_loop_or_never_end_are_no_listing(book: Mapping[str | None, Page]) -> None:
    with pytest.raises(Misread):
        _ = [page async for page in pages(Book(book), most=4)]
