"""Requests and answers of the sandbox hold what `tests/specs` say."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from openapi_schema_validator import OAS30Validator, OAS31Validator

from orchestrator.sandbox import Options, spawn

from .box import CREATES, Box

SPECS = Path(__file__).parent.parent / "specs"
SCHEMAS = {
    "cartesia": ("FineTune", "PaginatedFineTunes"),
    "oxen": ("FineTuneResponse", "FineTune"),
    "cloudflare": ("FinetuneEnvelope", "Finetune"),
    "cohere": ("CreateFinetunedModelResponse", "FinetunedModel"),
}


def check(provider: str, schema: str, value: Any) -> None:
    document = yaml.safe_load((SPECS / f"{provider}.yaml").read_text())
    root = {"$ref": f"#/components/schemas/{schema}", "components": document["components"]}
    (OAS31Validator if document["openapi"] >= "3.1" else OAS30Validator)(root).validate(value)


def rows(document: Any) -> list[Any]:
    return next(document[key] for key in ("fine_tunes", "result", "finetuned_models") if key in document)


@pytest.mark.parametrize("provider", SCHEMAS)
def test_answers_match_the_specification(shared: Box, provider: str) -> None:
    made, listed = SCHEMAS[provider]
    reply = shared.create(provider)
    assert reply.status_code == (201 if provider == "oxen" else 200)
    check(provider, made, reply.json())
    document = shared.lists(provider)
    for value in [document] if provider == "cartesia" else rows(document):
        # The specification is of a create; in a list of Cloudflare's the SDK has no `public`.
        check(provider, listed, {**value, "public": False} if provider == "cloudflare" else value)


def test_pages_by_default() -> None:
    pages = {"cartesia_page": 3, "oxen_page": 4, "cohere_page": 5}
    options = Options(cartesia_order="oldest", oxen_resource="object", **pages)  # type: ignore[arg-type] # all are int
    with spawn(None, options) as url:
        box = Box(url)
        with box.client:
            seeded = {}
            for provider in ("cartesia", "oxen", "cohere"):
                account = "acme/support" if provider == "oxen" else "default"
                order = {"provider": provider, "count": 12, "account": account}
                seeded[provider] = box.client.post("/_sandbox/seed", json=order).json()["ids"]
            assert [row["id"] for row in box.lists("cartesia")["data"]] == seeded["cartesia"][:3]
            back = box.lists("cartesia", ending_before=seeded["cartesia"][5], limit=2)["data"]
            assert [row["id"] for row in back] == seeded["cartesia"][3:5]
            assert [row["id"] for row in box.lists("oxen", page=3)["fine_tunes"]] == seeded["oxen"][3::-1]
            assert box.lists("oxen", page=4)["fine_tunes"] == []
            assert len(box.lists("cohere", page_size=0)["finetuned_models"]) == 5
            assert box.lists("cohere")["total_size"] == 12
            job = box.client.get(f"{CREATES['oxen'][0]}/{seeded['oxen'][0]}").json()["fine_tune"]
            assert job["resource"] == {"version": "main", "path": "train.parquet"}


def test_oxen_files_and_wider_lists(shared: Box) -> None:
    made = shared.create("oxen").json()["fine_tune"]["id"]
    for path in ("/oxen/api/user/fine_tunes", "/oxen/api/orgs/acme/fine_tunes"):
        query: dict[str, Any] = {"page_size": 100, "created_by": "default"}
        listed = shared.client.get(path, params=query).json()["fine_tunes"]
        assert made in [row["id"] for row in listed]
    assert shared.client.get("/oxen/api/users/nobody/fine_tunes").status_code == 404
    path = "/oxen/api/repos/acme/support/file/main/data/train.parquet"
    sent = shared.client.put(path, files={"file": ("t.parquet", b"PAR1")}, data={"message": "m"})
    assert sent.json()["commit"]["id"]
    changed = shared.client.patch(f"{CREATES['oxen'][0]}/{made}", json={"description": "d"})
    assert changed.json()["fine_tune"]["description"] == "d"
    for part in ("logs", "checkpoints", "train_status"):
        assert shared.client.get(f"{CREATES['oxen'][0]}/{made}/{part}").status_code == 200
    assert shared.client.delete(f"{CREATES['oxen'][0]}/{made}").json()["fine_tune"]["id"] == made
