"""Jobs pass through the provider's own words as the sandbox's time goes by."""

from typing import Any

import pytest

from orchestrator.sandbox import Options, spawn

from .box import CREATES, Box


def word(box: Box, provider: str, job: str) -> str:
    reply = box.client.get(f"{CREATES[provider][0].rstrip('/')}/{job}").json()
    held: Any = reply.get("fine_tune", reply.get("finetuned_model", reply))
    return str(held["status"])


def begin(box: Box, provider: str, text: str) -> str:
    field = "resource" if provider == "oxen" else "name"
    reply = box.create(provider, **{field: f"main/{text}"}).json()
    job = str(reply.get("fine_tune", reply.get("finetuned_model", reply))["id"])
    if provider == "oxen":
        assert word(box, provider, job) == "created"
        box.advance(1000)
        assert word(box, provider, job) == "created"  # it rests until it is run
        box.client.post(f"{CREATES['oxen'][0]}/{job}/actions/run").raise_for_status()
    return job


def words(box: Box, provider: str, job: str) -> list[str]:
    seen = [word(box, provider, job)]
    for _ in range(6):
        box.advance(10)
        seen.append(word(box, provider, job))
    return list(dict.fromkeys(seen))


PATHS = {
    "cartesia": (["created", "training"], ["completed"], "failed"),
    "oxen": (["tokenizing", "enqueued", "running"], ["completed", "deployed"], "errored"),
    "cohere": (
        ["STATUS_QUEUED", "STATUS_FINETUNING"],
        ["STATUS_DEPLOYING_API", "STATUS_READY"],
        "STATUS_FAILED",
    ),
}


@pytest.mark.parametrize("provider", PATHS)
def test_the_words_in_order(shared: Box, provider: str) -> None:
    work, done, failed = PATHS[provider]
    assert words(shared, provider, begin(shared, provider, "plain")) == [*work, *done]
    assert words(shared, provider, begin(shared, provider, "fail-me")) == [*work, failed]
    assert words(shared, provider, begin(shared, provider, "stuck-me")) == work
    assert words(shared, provider, begin(shared, provider, "odd-me")) == [*work, "simmering", *done]


def test_four_voices_after_completion(shared: Box) -> None:
    job = begin(shared, "cartesia", "plain")
    voices = f"/cartesia/fine-tunes/{job}/voices"
    assert shared.client.get(voices).json() == {"data": [], "has_more": False}
    shared.advance(100)
    page = shared.client.get(voices, params={"limit": 3}).json()
    assert (len(page["data"]), page["has_more"]) == (3, True)
    rest = shared.client.get(voices, params={"starting_after": page["data"][-1]["id"]}).json()
    assert (len(rest["data"]), rest["has_more"]) == (1, False)


def test_oxen_says_why_and_what(shared: Box) -> None:
    good, bad = begin(shared, "oxen", "plain"), begin(shared, "oxen", "fail-me")
    shared.advance(100)
    base = CREATES["oxen"][0]
    job = shared.client.get(f"{base}/{good}").json()["fine_tune"]
    assert job["resource"] == "main/plain"
    assert job["deployed_model"]
    assert job["finished_at"] > job["started_at"]
    assert "memory" in shared.client.get(f"{base}/{bad}").json()["fine_tune"]["error"]
    listed = shared.lists("oxen", page_size=100, status="errored")["fine_tunes"]
    assert bad in [row["id"] for row in listed]
    assert good not in [row["id"] for row in listed]
    assert "resource" not in listed[0]


def test_cohere_events_and_metrics(shared: Box) -> None:
    job = begin(shared, "cohere", "plain")
    shared.advance(100)
    base = f"{CREATES['cohere'][0]}/{job}"
    events = shared.client.get(f"{base}/events", params={"page_size": 3}).json()
    assert [row["status"] for row in events["events"]] == [
        "STATUS_QUEUED",
        "STATUS_FINETUNING",
        "STATUS_DEPLOYING_API",
    ]
    last = shared.client.get(f"{base}/events", params={"page_token": events["next_page_token"]}).json()
    assert [row["status"] for row in last["events"]] == ["STATUS_READY"]
    assert "next_page_token" not in last
    steps = shared.client.get(f"{base}/training-step-metrics").json()["step_metrics"]
    assert "step_number" not in steps[0]  # zero is left out
    assert steps[1]["step_number"] == 1
    model = shared.client.get(base).json()["finetuned_model"]
    assert (
        model["completed_at"] == last["events"][0]["created_at"]
        or model["completed_at"] < model["updated_at"]
    )


def test_no_stage_is_final_at_once() -> None:
    with spawn(None, Options(stage_seconds=0)) as url:
        box = Box(url)
        with box.client:
            assert box.create("cartesia").json()["status"] == "completed"
            assert box.create("cartesia", name="stuck-me").json()["status"] == "training"


def test_hands_on_the_state(shared: Box) -> None:
    job = begin(shared, "cartesia", "plain")
    target = {"provider": "cartesia", "id": job}
    shared.client.post("/_sandbox/set", json={**target, "status": "weird"}).raise_for_status()
    assert word(shared, "cartesia", job) == "weird"
    shared.client.post("/_sandbox/remove", json=target).raise_for_status()
    assert shared.client.get(f"/cartesia/fine-tunes/{job}").status_code == 404
    assert shared.client.post("/_sandbox/remove", json=target).status_code == 404
