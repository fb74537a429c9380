"""SIGKILL at random moments: nothing is bought twice, nothing is lost, every hook is told."""

import json
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from drive import Place, cartesia, cloudflare, cohere, oxen, placed
from listener import Listener, listening
from postgres import Postgres
from warm import Warm

from orchestrator.hooks.webhook import make_secret
from orchestrator.sandbox import Options, spawn

KINDS = ("cartesia", "oxen", "cloudflare", "cohere")
EACH = 3
EVENTS = ("job.submitted", "job.running", "job.succeeded", "job.failed", "job.in_doubt", "job.lost")
SCRIPT = '#!/bin/sh\necho "$ORCHESTRATOR_JOB $ORCHESTRATOR_DELIVERY_ID" >> told.txt\n'


@pytest.fixture
def slow(tmp_path: Path, _client: httpx.Client, _warm: Warm | None) -> Iterator[Place]:
    """A place whose providers take their time, so that a kill finds something under way."""
    options = Options(stage_seconds=0.4, latency_ms=15)
    with spawn(None, options) as url, placed(Place(tmp_path / "work", url, _client, _warm)) as place:
        yield place


@pytest.fixture
def told(slow: Place) -> Iterator[Listener]:
    with listening(make_secret()) as found:
        slow.env["TEAM_HOOK_SECRET"] = found.secret
        yield found


def declare(place: Place, listener: Listener) -> list[str]:
    """Write jobs of all four providers, and return their names."""
    place.adapter()
    script = place.folder / "tell.sh"
    script.write_text(SCRIPT)
    script.chmod(0o700)
    kinds = (cartesia, oxen, cloudflare)
    jobs = [kind(f"{kind.__name__}-{number}") for number in range(EACH) for kind in kinds]
    jobs += [cohere(f"cohere-{number}", dataset=f"labels-{number}") for number in range(EACH)]
    # What was killed before it was sent is sent again, once it is sure that it was not.
    doubt = 'doubt_window = "1s"\nafter_doubt = "resend"\n'
    command = '[hooks.tell]\nkind = "command"\ncommand = ["./tell.sh"]\nevents = ["job.succeeded"]\n'
    place.write(
        *jobs,
        settings='hooks = ["team", "tell"]',
        accounts=place.accounts(**dict.fromkeys(KINDS, doubt)) + command + listener.table("team", *EVENTS),
    )
    return [f"{kind}-{number}" for kind in KINDS for number in range(EACH)]


def kill_often(place: Place, seed: int, kills: int) -> None:
    """Start the daemon and kill it, again and again, mostly while it is busy."""
    draw = random.Random(seed)  # noqa: S311 - it chooses moments, and is to be repeatable
    for _ in range(kills):
        daemon = place.start("up")
        daemon.until("daemon.started")
        daemon.wait_or_kill(draw.expovariate(4.0))


def nothing_went_wrong(place: Place, listener: Listener, names: list[str]) -> None:
    jobs = place.jobs()
    assert {name: jobs[name]["status"] for name in names} == dict.fromkeys(names, "succeeded")
    ledger = place.ledger()
    made = Counter(row.get("name", row.get("resource")) for rows in ledger.created.values() for row in rows)
    assert set(made.values()) == {1}, made
    assert ledger.counts == dict.fromkeys(KINDS, EACH)
    assert {kind: len(set(ids)) for kind, ids in ledger.paid.items()} == {
        kind: len(ids) for kind, ids in ledger.paid.items()
    }
    refused = {(row["operation"], row["provider"]) for row in ledger.refused}
    assert refused <= {("upload", "cloudflare")}  # a file that is there already
    all_told(place, listener, names)
    plan = place("plan", "--detailed-exitcode", code=0)
    assert "No changes." in plan.out


def all_told(place: Place, listener: Listener, names: list[str]) -> None:
    assert listener.refused == 0
    events = [event for event in place.events() if event["type"] in EVENTS]
    first = list({message.id: message for message in listener.messages}.values())
    assert len(first) == len(events)
    bodies = {message.id: json.dumps(message.data, sort_keys=True) for message in listener.messages}
    assert all(bodies[each.id] == json.dumps(each.data, sort_keys=True) for each in listener.messages)
    for name in names:
        mine = [event["sequence"] for event in events if event["job"] == name]
        assert [each.data["sequence"] for each in first if each.data["job"] == name] == sorted(mine)
    deliveries = place("hooks", "log", "--json").json["deliveries"]
    assert {row["state"] for row in deliveries} == {"delivered"}
    commands = set((place.folder / "told.txt").read_text().splitlines())
    assert {line.split()[0] for line in commands} == set(names)
    assert len(commands) == len(names)  # a repeated one has the same id


def test_a_few_kills(slow: Place, told: Listener) -> None:
    names = declare(slow, told)
    kill_often(slow, 7, 5)
    slow.up()
    nothing_went_wrong(slow, told, names)


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(6))
def test_many_kills(slow: Place, told: Listener, seed: int) -> None:
    names = declare(slow, told)
    kill_often(slow, seed, 15)
    slow.up()
    nothing_went_wrong(slow, told, names)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("kills", [3, pytest.param(15, marks=pytest.mark.long)])
def test_kills_on_postgresql(slow: Place, told: Listener, postgres: Postgres, kills: int) -> None:
    names = declare(slow, told)
    slow.env["ORCHESTRATOR_DATABASE"] = postgres.make()
    try:
        kill_often(slow, kills, kills)
        slow.up()
        nothing_went_wrong(slow, told, names)
    finally:
        slow.end()
        postgres.drop(slow.env["ORCHESTRATOR_DATABASE"])


def test_two_daemons_share_a_postgresql(slow: Place, told: Listener, postgres: Postgres) -> None:
    names = declare(slow, told)
    slow.env["ORCHESTRATOR_DATABASE"] = postgres.make()
    try:
        slow("db", "upgrade")
        both = [slow.start("up", "--until-settled", "--timeout", "50s") for _ in range(2)]
        assert [each.wait() for each in both] == [0, 0]
        nothing_went_wrong(slow, told, names)
    finally:
        slow.end()
        postgres.drop(slow.env["ORCHESTRATOR_DATABASE"])
