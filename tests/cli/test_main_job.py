"""The main job: four providers' fine-tunes from a job file to succeeded, each bought once, all told of."""

import json
import stat

import pytest
from drive import Place, cartesia, cloudflare, cohere, oxen
from listener import Listener, listening

from orchestrator.config.secret import Dummies
from orchestrator.hooks.webhook import make_secret

JOBS = (cartesia("voice"), oxen("chat"), cloudflare("lora"), cohere("labels"))
ALL = ("job.submitted", "job.queued", "job.running", "job.succeeded", "job.failed")
SCRIPT = """#!/bin/sh
cat > "promoted-$ORCHESTRATOR_JOB.json"
env | grep ^ORCHESTRATOR_ | sort >> promoted.env
echo one >> promoted.count
"""


def declare(place: Place, listener: Listener) -> None:
    place.adapter()
    script = place.folder / "promote.sh"
    script.write_text(SCRIPT)
    script.chmod(0o700)
    command = '[hooks.promote]\nkind = "command"\ncommand = ["./promote.sh"]\nevents = ["job.succeeded"]\n'
    place.write(
        cartesia("voice", 'hooks = ["team", "promote"]'),
        *JOBS[1:],
        settings='hooks = ["team"]',
        accounts=place.accounts() + command + listener.table("team", *ALL),
    )


def test_four_jobs_from_a_file_to_succeeded(place: Place, listener: Listener) -> None:
    place.warm = None  # as it is installed, from an interpreter's start
    declare(place, listener)
    place.up()
    ledger = place.ledger()
    assert ledger.counts == {"cartesia": 1, "oxen": 1, "cloudflare": 1, "cohere": 1}
    assert [len(ledger.paid[kind]) for kind in ("cartesia", "oxen", "cloudflare", "cohere")] == [1, 1, 0, 1]
    assert ledger.refused == []
    assert [len(ledger.asked("create", kind)) for kind in ledger.counts] == [1, 1, 1, 1]
    assert len(ledger.asked("run", "oxen")) == 1

    jobs = place.jobs()
    assert {name: job["status"] for name, job in jobs.items()} == dict.fromkeys(
        ("voice", "chat", "lora", "labels"), "succeeded"
    )
    results(place, jobs)
    in_order(place, jobs)
    told(listener, jobs)
    promoted(place, jobs["voice"])
    again = place("plan", "--detailed-exitcode", "--json")
    assert {change["action"] for change in again.json["changes"]} == {"none"}


def results(place: Place, jobs: dict[str, dict[str, object]]) -> None:
    made = {kind: rows[0] for kind, rows in place.ledger().created.items()}
    assert jobs["voice"]["remote_id"] == made["cartesia"]["id"]
    voice = jobs["voice"]["result"]
    assert isinstance(voice, dict)
    assert len(voice["voices"]) == 4
    assert voice["model"] == voice["voices"][0]["id"]
    assert all(set(each) == {"id", "name"} for each in voice["voices"])
    assert made["cartesia"]["name"] == "voice"
    assert made["cartesia"]["description"].startswith("A voice ft1-")
    chat = jobs["chat"]["result"]
    assert isinstance(chat, dict)
    assert chat["model"] in (chat.get("deployed_model"), chat.get("output_resource"), made["oxen"]["id"])
    lora = jobs["lora"]["result"]
    assert isinstance(lora, dict)
    assert lora["model"] == made["cloudflare"]["name"] == "lora"
    assert jobs["labels"]["result"] == {"model": f"{made['cohere']['id']}-ft"}
    assert made["cohere"]["name"].startswith("labels-ft1-")


def in_order(place: Place, jobs: dict[str, dict[str, object]]) -> None:
    events = place.events()
    assert [event["id"] for event in events] == sorted(event["id"] for event in events)
    for name, job in jobs.items():
        mine = [event for event in events if event["job"] == name]
        kinds = [event["type"] for event in mine]
        assert kinds == sorted(kinds, key=ALL.index), kinds
        assert kinds[0] == "job.submitted"
        assert kinds[-1] == "job.succeeded"
        assert len(set(kinds)) == len(kinds)
        assert [event["sequence"] for event in mine] == list(range(1, len(mine) + 1))
        assert {event["run_id"] for event in mine} == {job["run_id"]}
        assert set(mine[0]) == {
            *("id", "type", "timestamp", "job", "provider", "run_id", "sequence", "status"),
            *("previous_status", "provider_status", "message"),
        }


def told(listener: Listener, jobs: dict[str, dict[str, object]]) -> None:
    assert listener.refused == 0
    ids = [message.id for message in listener.messages]
    assert len(set(ids)) == len(ids)
    for name, job in jobs.items():
        mine = listener.of(name)
        assert [message.data["sequence"] for message in mine] == list(range(1, len(mine) + 1))
        last = mine[-1]
        assert last.type == "job.succeeded"
        assert last.timestamp.endswith("Z")
        keys = ("job", "provider", "status", "provider_status", "remote_id", "run_id", "attempt", "result")
        assert {key: last.data[key] for key in keys} == {key: job[key] for key in keys}
        assert last.data["current"] is True
        assert set(last.data) == {
            *keys,
            *("previous_status", "sequence", "current", "message", "submitted_at", "finished_at"),
        }


def promoted(place: Place, job: dict[str, object]) -> None:
    assert (place.folder / "promoted.count").read_text() == "one\n"
    heard = json.loads((place.folder / "promoted-voice.json").read_text())
    assert (heard["type"], heard["data"]["remote_id"]) == ("job.succeeded", job["remote_id"])
    lines = (place.folder / "promoted.env").read_text().splitlines()
    told = dict(line.split("=", 1) for line in lines)
    result = job["result"]
    assert isinstance(result, dict)
    wanted = {
        "ORCHESTRATOR_EVENT": "job.succeeded",
        "ORCHESTRATOR_JOB": "voice",
        "ORCHESTRATOR_STATUS": "succeeded",
        "ORCHESTRATOR_REMOTE_ID": job["remote_id"],
        "ORCHESTRATOR_MODEL": result["model"],
    }
    assert wanted.items() <= told.items()


def test_the_state_is_for_its_owner_alone(place: Place) -> None:
    place.write(cartesia("voice"))
    place("db", "upgrade")
    folder = place.folder / ".orchestrator"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert (folder / ".gitignore").read_text() == "*\n"
    assert stat.S_IMODE((folder / "state.db").stat().st_mode) == 0o600


def test_the_sandbox_has_its_own_database_and_no_real_secret(place: Place) -> None:
    place.env["ORCHESTRATOR_SANDBOX_STAGE_SECONDS"] = "0"
    place.env["CARTESIA_API_KEY"] = "refuse-me"  # sent by mistake, it would pause the account
    place.env["TEAM_HOOK_SECRET"] = make_secret()  # signed with it, a message would be refused
    with listening(Dummies.VALUE) as listener:
        declare(place, listener)
        place.up("--sandbox")
    assert listener.refused == 0
    assert listener.messages
    assert not (place.folder / "promoted.count").exists()  # commands are only shown
    assert place.ledger().requests == []
    assert not (place.folder / ".orchestrator" / "state.db").exists()
    jobs = place("--sandbox", "status", "--json").json["jobs"]
    assert {job["status"] for job in jobs} == {"succeeded"}
    assert len(jobs) == 4
    text = (place.folder / ".orchestrator" / "sandbox.jsonl").read_text()
    made = [json.loads(line) for line in text.splitlines()]
    assert sum(len(line.get("created", ())) for line in made) == 4
    assert not any(line.get("outcome") == "refused" for line in made)
    assert "refuse-me" not in text
    plan = place("plan", "--json").json
    assert plan["summary"]["create"] == 4  # the real one knows nothing of it


@pytest.mark.parametrize("wait", ["--wait", ""])
def test_apply_submits_by_itself(place: Place, wait: str) -> None:
    place.adapter()
    place.write(*JOBS)
    place("apply", "-y", *([wait] if wait else []))
    statuses = {job["status"] for job in place.jobs().values()}
    assert statuses == {"succeeded"} if wait else statuses <= {"queued", "running", "succeeded"}
    assert place.ledger().counts == {"cartesia": 1, "oxen": 1, "cloudflare": 1, "cohere": 1}
    assert place.ledger().refused == []
