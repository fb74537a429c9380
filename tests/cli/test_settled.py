"""When waiting ends: the same for `up --until-settled`, `apply --wait`, `wait` and Python."""

import pytest
from drive import Place, cartesia, oxen

LATER = "once the key is there, the next `orchestrator up`"


@pytest.mark.parametrize("key", ["", "refuse-me"])
def test_what_only_credentials_keep_is_not_waited_for(place: Place, key: str) -> None:
    place.write(cartesia("voice"), oxen("chat"))
    good = place.env["CARTESIA_API_KEY"]
    place.env["CARTESIA_API_KEY"] = key
    recorded = place("apply", "-y", code=4).err
    assert LATER in recorded
    for args in (("up", "--until-settled"), ("apply", "--wait"), ("wait", "voice")):
        said = place(*args, "--timeout", "50s", code=4).err
        assert "cartesia" in said
    assert LATER in said
    assert {name: job["status"] for name, job in place.jobs().items()} == {
        "voice": "pending",
        "chat": "succeeded",
    }
    assert place.ledger().counts["cartesia"] == 0
    place.env["CARTESIA_API_KEY"] = good
    place("wait", "voice", "--timeout", "50s")
    assert place.ledger().counts["cartesia"] == 1


def test_a_decision_that_is_due_ends_it(place: Place) -> None:
    place.write(cartesia("one"), cartesia("two"), settings="max_new_runs = 1")
    place.up()
    place("wait", "one", "--timeout", "50s", code=5)
    assert place.ledger().requests == []


def test_wait_asks_the_providers_where_no_daemon_does(place: Place) -> None:
    place.write(cartesia("voice"), cartesia("broken", dataset="fail-me"))
    place("apply", "-y")
    found = place("wait", "voice", "--json")
    assert found.json["jobs"][0]["status"] == "succeeded"
    assert "No daemon is running, so this command asks the providers itself." in found.err
    place("wait", "broken", "voice", code=5)


@pytest.mark.long
def test_wait_goes_on_by_itself_when_the_daemon_is_killed(place: Place) -> None:
    place.write(cartesia("voice", dataset="stuck-me"))
    daemon = place.start("up")
    daemon.until("run.advanced", job="voice", status="running")
    waiting = place.start("wait", "voice")
    place.until(lambda: "running" in waiting.err, "the wait")
    daemon.kill()
    place.set("cartesia", place.job("voice")["remote_id"], "completed")
    assert waiting.wait() == 0
    assert "The daemon is gone" in waiting.err
