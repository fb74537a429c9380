"""What the specifications do not allow is refused in the provider's own form, and entered in the ledger."""

from typing import Any

import pytest

from orchestrator.sandbox import Options, spawn

from .box import CARTESIA_JOB, COHERE_JOB, CREATES, HEADERS, Box


def refused(box: Box, status: int, **request: Any) -> str:
    before = box.ledger()["created"]
    reply = box.client.request(**request)
    assert reply.status_code == status, reply.text
    last = box.ledger(limit=1)
    assert last["requests"][0]["outcome"] == "refused"
    assert last["created"] == before
    return str(last["requests"][0]["reason"])


@pytest.mark.parametrize("provider", CREATES)
@pytest.mark.parametrize("flaw", ["unknown", "missing", "type", "list", "form", "query"])
def test_a_create_with_a_flaw(shared: Box, provider: str, flaw: str) -> None:
    path, body = CREATES[provider]
    first = next(iter(body))
    request: dict[str, Any] = {"method": "POST", "url": path, "json": dict(body)}
    match flaw:
        case "unknown":
            request["json"]["surprise"] = 1
        case "missing":
            del request["json"][first]
        case "type":
            request["json"][first] = 7
        case "list":
            request["json"] = [1]
        case "form":
            request.pop("json")
            request["data"] = {"name": "n"}
        case "query":
            request["params"] = {"dry": "1"}
    words = {"unknown": "surprise", "missing": first, "type": first, "query": "dry"}
    assert words.get(flaw, "body" if flaw == "list" else "content type") in refused(shared, 400, **request)


@pytest.mark.parametrize("provider", CREATES)
@pytest.mark.parametrize(
    ("header", "status"),
    [(None, 401), ("Basic x", 401), ("Bearer", 401), ("Bearer refuse-me", 401), ("Bearer forbid-me", 403)],
)
def test_a_key_that_is_not_taken(shared: Box, provider: str, header: str | None, status: int) -> None:
    request = shared.client.build_request("GET", CREATES[provider][0])
    del request.headers["authorization"]
    if header is not None:
        request.headers["authorization"] = header
    assert shared.client.send(request).status_code == status


@pytest.mark.parametrize("provider", CREATES)
def test_the_slash_at_the_end_must_be_as_documented(shared: Box, provider: str) -> None:
    path, body = CREATES[provider]
    other = path.removesuffix("/") if path.endswith("/") else f"{path}/"
    assert "no such address" in refused(shared, 404, method="POST", url=other, json=body)


@pytest.mark.parametrize(
    "versions", [[], ["2026-08-14"], ["2026-03-01", "2026-03-01"], ["2026-03-01, 2026-08-14"]]
)
def test_cartesia_takes_one_version_once(shared: Box, versions: list[str]) -> None:
    headers = [("authorization", HEADERS["authorization"]), *(("Cartesia-Version", one) for one in versions)]
    request = shared.client.build_request("POST", "/cartesia/fine-tunes/", json=CARTESIA_JOB)
    del request.headers["cartesia-version"]
    request.headers = type(request.headers)([*request.headers.multi_items(), *headers[1:]])
    reply = shared.client.send(request)
    assert reply.status_code == 400
    assert reply.json()["error_code"] == "invalid_version"


@pytest.mark.parametrize("limit", ["0", "101", "-1", "ten", "1.0", "", "+5"])
def test_a_limit_is_1_to_100(shared: Box, limit: str) -> None:
    reason = refused(shared, 400, method="GET", url="/cartesia/fine-tunes/", params={"limit": limit})
    assert "limit" in reason


def test_methods_and_bodies_that_are_not_documented(shared: Box) -> None:
    refused(shared, 405, method="PUT", url="/cartesia/fine-tunes/")
    refused(shared, 400, method="GET", url="/cartesia/fine-tunes/", content=b"x")
    refused(shared, 404, method="GET", url="/cartesia/fine-tunes/ft_none")
    refused(shared, 400, method="GET", url="/cartesia/fine-tunes/", params={"starting_after": "ft_none"})


def test_values_out_of_their_range(shared: Box) -> None:
    path = CREATES["cohere"][0]
    settings: Any = {**COHERE_JOB["settings"], "hyperparameters": {"train_epochs": 11}}
    assert "train_epochs" in refused(
        shared, 400, method="POST", url=path, json={"name": "n", "settings": settings}
    )
    settings = {"base_model": {"base_type": "BASE_TYPE_ODD"}, "dataset_id": "d"}
    assert "base_type" in refused(
        shared, 400, method="POST", url=path, json={"name": "n", "settings": settings}
    )
    reply = shared.create("oxen", script_type="poetry")
    assert reply.status_code == 400
    assert reply.json()["status"] == "error"


def test_oxen_training_params_are_open(shared: Box) -> None:
    assert shared.create("oxen", training_params={"epochs": 3, "anything": [1]}).status_code == 201
    assert shared.create("oxen", training_params={"lora_rank": "8"}).status_code == 400


def test_cloudflare_assets(sandbox: Box) -> None:
    made = sandbox.create("cloudflare").json()["result"]
    base = CREATES["cloudflare"][0]

    def send(name: str, content: bytes, key: str) -> Any:
        form = {"data": {"file_name": name}, "files": {"file": (name, content)}}
        return sandbox.client.post(f"{base}/{key}/finetune-assets", **form).json()  # type: ignore[arg-type] # two kinds in one dict

    config = b'{"model_type": "llama", "r": 8}'
    assert not send("other.json", config, made["id"])["success"]
    assert not send("adapter_config.json", b"{}", made["id"])["success"]
    assert send("adapter_config.json", config, made["id"])["success"]
    assert send("adapter_model.safetensors", b"\r\n--x\x00", made["name"])["success"]
    again = send("adapter_config.json", config, made["id"])
    assert "already exists" in again["errors"][0]["message"]
    parts = sandbox.ledger(provider="cloudflare")["requests"][-2]["body"]["parts"]
    assert [part["size"] for part in parts] == [25, 6]


def test_cloudflare_may_take_a_repeated_asset_for_done() -> None:
    with spawn(None, Options(cloudflare_repeat="accept")) as url, Box(url).client as client:
        base = CREATES["cloudflare"][0]
        made = client.post(base, json=CREATES["cloudflare"][1]).json()["result"]
        name = "adapter_model.safetensors"
        for content in (b"first", b"second"):
            form = {"data": {"file_name": name}, "files": {"file": (name, content)}}
            sent = client.post(f"{base}/{made['id']}/finetune-assets", **form)  # type: ignore[arg-type] # two kinds in one dict
            assert sent.json()["success"]


def test_cartesia_datasets_have_both_their_fields(shared: Box) -> None:
    assert "description" in refused(shared, 400, method="POST", url="/cartesia/datasets/", json={"name": "n"})
    made = shared.client.post("/cartesia/datasets/", json={"name": "n", "description": ""}).json()
    path = f"/cartesia/datasets/{made['id']}"
    for name in ("name", "description"):
        assert "missing field" in refused(shared, 400, method="PATCH", url=path, json={name: "x"})
    assert shared.client.get(path).json() == made


OXEN = "/oxen/api/repos/acme/files"
FILE = {"file": ("a.jsonl", b"{}\n")}
Parts = list[tuple[str, tuple[str, bytes]]]


def test_oxen_takes_one_file_to_a_path_or_several_into_a_directory(sandbox: Box) -> None:
    client = sandbox.client
    first = client.put(
        f"{OXEN}/file/main/data/a.jsonl", files=FILE, data={"message": "m", "name": "n"}
    ).json()
    assert set(first) == {"status", "status_message", "commit"}
    assert first["status_message"] == "resource_created"
    assert (first["commit"]["message"], first["commit"]["author"]) == ("m", "n")
    several: Parts = [("files[]", ("b.jsonl", b"b")), ("files[]", ("../c.jsonl", b"cc"))]
    second = client.put(f"{OXEN}/file/main/data", files=several).json()["commit"]
    assert second["message"] == "Auto-commit files to data"
    assert second["parent_ids"] == [first["commit"]["id"]]
    parts = sandbox.ledger(provider="oxen")["requests"][-1]["body"]["parts"]
    assert [part["field"] for part in parts] == ["files[]", "files[]"]
    client.put(f"{OXEN}/file/main/data", files=FILE).raise_for_status()  # into what is a directory by now
    for name, size in (("a.jsonl", 3), ("b.jsonl", 1), ("..c.jsonl", 2)):
        entry = client.get(f"{OXEN}/metadata/main/data/{name}").json()["entry"]
        assert (entry["filename"], entry["size"], entry["is_dir"], len(entry["hash"])) == (
            name,
            size,
            False,
            32,
        )
    assert client.get(f"{OXEN}/metadata/main/data").json()["entry"]["is_dir"]
    assert client.get(f"{OXEN}/metadata/main/data/none").status_code == 404
    client.put(f"{OXEN}/file/main", files=several).raise_for_status()
    assert client.get(f"{OXEN}/metadata/main/b.jsonl").status_code == 200


def test_oxen_knows_its_branches(sandbox: Box) -> None:
    client = sandbox.client
    assert client.get(f"{OXEN}/metadata/main/a.jsonl").status_code == 404
    commit = client.put(f"{OXEN}/file/trunk/a.jsonl", files=FILE).json()["commit"]["id"]
    assert refused(sandbox, 404, method="PUT", url=f"{OXEN}/file/main/b.jsonl", files=FILE)
    assert client.get(f"{OXEN}/branches/main").status_code == 404
    reply = client.post(f"{OXEN}/branches", json={"new_name": "wip/main", "from_name": "trunk"}).json()
    assert (reply["status_message"], reply["branch"]["commit_id"]) == ("resource_created", commit)
    client.put(f"{OXEN}/file/wip/main/b.jsonl", files=FILE).raise_for_status()
    names = [branch["name"] for branch in client.get(f"{OXEN}/branches").json()["branches"]]
    assert names == ["trunk", "wip/main"]
    assert client.get(f"{OXEN}/metadata/wip/main/a.jsonl").status_code == 200
    assert client.get(f"{OXEN}/metadata/trunk/b.jsonl").status_code == 404
    again = client.post(f"{OXEN}/branches", json={"new_name": "trunk", "commit_id": commit}).json()
    assert again["status_message"] == "resource_found"
    assert refused(
        sandbox, 404, method="POST", url=f"{OXEN}/branches", json={"new_name": "x", "from_name": "none"}
    )


def test_oxen_refuses_a_form_or_a_place_that_cannot_be(sandbox: Box) -> None:
    sandbox.client.put(f"{OXEN}/file/main/data/a.jsonl", files=FILE).raise_for_status()
    several: Parts = [("files[]", ("b.jsonl", b"b"))]

    def put(path: str, files: Any) -> str:
        return refused(sandbox, 400, method="PUT", url=f"{OXEN}/file/{path}", files=files)

    assert "Ambiguous multipart payload" in put("main/x", [*several, ("file", ("a", b"a"))])
    assert "Missing file data" in put("main/x", {"message": (None, b"m")})
    assert "occurs twice" in put("main/x", [("file", ("a", b"a")), ("file", ("b", b"b"))])
    assert "must be a directory" in put("main/data/a.jsonl/b", FILE)
    assert "must be a directory" in put("main/data/a.jsonl", several)
    assert "path traversal" in put("main/data/%2e%2e/b", FILE)
    assert "absolute" in put("main/%2fetc/b", FILE)
    empty = OXEN.replace("files", "empty")
    assert "full file path" in refused(sandbox, 400, method="PUT", url=f"{empty}/file/main", files=FILE)
    assert "path cannot be empty" in put("main/data", [("files[]", ("..", b"b"))])
    reply = sandbox.client.put(f"{OXEN}/file/main/x", files=[*several, ("file", ("a", b"a"))]).json()
    assert (reply["status"], reply["status_message"]) == ("error", "bad_request")
    assert "not both" in reply["error"]["detail"]
    assert len(sandbox.client.get(f"{OXEN}/branches").json()["branches"]) == 1


def test_cloudflare_has_thirty_slots(sandbox: Box) -> None:
    sandbox.client.post("/_sandbox/seed", json={"provider": "cloudflare", "account": "acc", "count": 29})
    assert sandbox.create("cloudflare").status_code == 200
    full = sandbox.create("cloudflare")
    assert full.status_code == 400
    assert "MAX_ASSETS_ERROR" in full.json()["errors"][0]["message"]
    assert len(sandbox.lists("cloudflare")["result"]) == 30


def test_oxen_run_and_stop_mind_the_state(sandbox: Box) -> None:
    job = f"{CREATES['oxen'][0]}/{sandbox.create('oxen').json()['fine_tune']['id']}"
    assert sandbox.client.post(f"{job}/actions/stop").status_code == 400
    assert sandbox.ledger()["paid"]["oxen"] == []
    assert sandbox.client.post(f"{job}/tokenize").json()["fine_tune"]["status"] == "tokenizing"
    assert sandbox.client.post(f"{job}/actions/run").status_code == 200
    assert sandbox.client.post(f"{job}/actions/run").status_code == 400
    assert sandbox.client.post(f"{job}/actions/stop").json()["fine_tune"]["status"] == "stopped"
    assert len(sandbox.ledger()["paid"]["oxen"]) == 1
