"""The official SDKs create, get, list and page as they do against the real services."""

import io
from typing import Any

import cartesia
import cloudflare
import cohere
import httpx
from cohere.finetuning.finetuning.types import BaseModel, FinetunedModel, Settings

from .box import CARTESIA_JOB, Box


def test_cartesia(sandbox: Box) -> None:
    client = cartesia.Cartesia(
        api_key="k", base_url=f"{sandbox.url}/cartesia", default_headers={"cartesia-version": "2026-03-01"}
    )
    with client:
        dataset = client.datasets.create(name="d", description="")
        client.datasets.files.upload(dataset.id, purpose="fine_tune", file=("a.wav", b"RIFF"))
        files = list(client.datasets.files.list(dataset.id))
        assert [(file.filename, file.size) for file in files] == [("a.wav", 4)]
        job: dict[str, Any] = {**CARTESIA_JOB, "dataset": dataset.id}
        made = [client.fine_tunes.create(**{**job, "name": f"n{nr}"}) for nr in range(25)]
        assert client.fine_tunes.retrieve(made[0].id).name == "n0"
        assert [row.id for row in client.fine_tunes.list(limit=10)] == [row.id for row in reversed(made)]
        sandbox.advance(100)
        assert len(list(client.fine_tunes.list_voices(made[0].id))) == 4
        client.fine_tunes.delete(made[0].id)
        assert len(list(client.fine_tunes.list())) == 24
        client.datasets.update(dataset.id, name="e", description="f")
        assert client.datasets.retrieve(dataset.id).name == "e"
        client.datasets.files.delete(files[0].id, id=dataset.id)
        client.datasets.delete(dataset.id)
        assert list(client.datasets.list()) == []
    assert sandbox.ledger()["counts"]["cartesia"].get("refused", 0) == 0


def test_cloudflare(sandbox: Box) -> None:
    client = cloudflare.Cloudflare(api_token="k", base_url=f"{sandbox.url}/cloudflare/client/v4")
    with client:
        made = client.ai.finetunes.create(
            account_id="acc", model="m", name="n", description="d ft1-x", public=True
        )
        assert made is not None
        config = ("adapter_config.json", io.BytesIO(b'{"model_type":"llama"}'))
        client.ai.finetunes.assets.create(
            made.id, account_id="acc", file=config, file_name="adapter_config.json"
        )
        listed = client.ai.finetunes.list(account_id="acc")
        assert isinstance(listed, list)  # the SDK types it as one object, yet gives what it gets
        assert [row.name for row in listed] == ["n"]
        assert set(listed[0].to_dict()) == set(type(listed[0]).model_fields)
        assert [row.id for row in client.ai.finetunes.public.list(account_id="acc", limit=5)] == [made.id]
    with cloudflare.Cloudflare(
        api_email="a@b.c", api_key="k", base_url=f"{sandbox.url}/cloudflare/client/v4"
    ) as keyed:
        assert keyed.ai.finetunes.list(account_id="other") == []
    assert sandbox.ledger()["counts"]["cloudflare"].get("refused", 0) == 0


def test_cohere(sandbox: Box) -> None:
    with httpx.Client() as http:  # its own client would leave sockets open
        client = cohere.Client(
            api_key="k", base_url=f"{sandbox.url}/cohere", client_name="test", httpx_client=http
        )
        train(client, sandbox)
    assert sandbox.ledger()["counts"]["cohere"].get("refused", 0) == 0


def train(client: cohere.Client, sandbox: Box) -> None:
    data = client.datasets.create(name="d", type="chat-finetune-input", data=("d.jsonl", b"{}\n"))
    sandbox.advance(100)
    assert data.id is not None
    assert client.datasets.get(data.id).dataset.validation_status == "validated"
    assert len(client.datasets.list(dataset_type="chat-finetune-input").datasets or []) == 1
    assert client.datasets.get_usage().organization_usage == 3
    settings = Settings(base_model=BaseModel(base_type="BASE_TYPE_CHAT"), dataset_id=data.id)
    tuning = client.finetuning
    made = [
        tuning.create_finetuned_model(
            request=FinetunedModel(name=f"n{nr}", settings=settings)
        ).finetuned_model
        for nr in range(5)
    ]
    assert made[0] is not None
    assert made[0].id is not None
    found = tuning.get_finetuned_model(made[0].id).finetuned_model
    assert found is not None
    assert found.name == "n0"
    names: list[str] = []
    token: str | None = None
    while True:
        page = tuning.list_finetuned_models(page_size=2, page_token=token, order_by="created_at desc")
        names += [row.name for row in page.finetuned_models or []]
        token = page.next_page_token
        if not token:
            break
    assert names == ["n4", "n3", "n2", "n1", "n0"]
    renamed = tuning.update_finetuned_model(made[0].id, name="m0", settings=settings).finetuned_model
    assert renamed is not None
    assert renamed.name == "m0"
    sandbox.advance(100)
    assert len(tuning.list_events(made[0].id).events or []) == 4
    assert len(tuning.list_training_step_metrics(made[0].id).step_metrics or []) == 5
    tuning.delete_finetuned_model(made[0].id)
    client.datasets.delete(data.id)
