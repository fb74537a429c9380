"""`doctor` tries what the files name, and changes nothing."""

import re
import signal
from functools import partial

import pytest
from drive import Place, Running, cartesia, cohere, eventually, oxen
from listener import Listener


def checks(place: Place, code: int) -> dict[tuple[str, str], tuple[str, str]]:
    found = place("doctor", "--json", code=code).json["checks"]
    return {
        (one["what"], one["name"]): (one["state"], one["detail"]) for one in found if one["what"] != "files"
    }


def test_all_is_well(place: Place, listener: Listener) -> None:
    place.write(cartesia("voice"), oxen("chat"), cohere("labels"), listener.table("team"))
    place("apply", "-y")
    before = len(place.ledger().asked("create"))
    daemon = place.start("up")
    daemon.until("daemon.started")
    found = checks(place, 0)
    assert {state for state, _ in found.values()} == {"ok"}
    assert "1 fine-tune on the first page" in found["account", "cartesia"][1]
    assert found["hook", "team"][1].startswith("ready")
    assert len(place.ledger().asked("create")) == before
    assert "Cohere ended fine-tuning" in place("doctor").out
    assert daemon.stop() == 0
    assert "orchestrator up" in place("doctor").err


def test_each_trouble_is_told_beside_the_others(place: Place, listener: Listener) -> None:
    place.write(cartesia("voice"), listener.table("team"))
    place.env |= {"CARTESIA_API_KEY": "", "TEAM_HOOK_SECRET": "whsec_aHVudGVyMg=="}
    found = checks(place, 1)
    assert found["account", "cartesia"][0] == found["hook", "team"][0] == "problem"
    assert found["account", "oxen"][0] == found["account", "cohere"][0] == "ok"
    assert "aHVudGVyMg" not in place("doctor", code=1).out
    assert place.ledger().asked("create") == []


def test_a_refused_credential_alone_is_code_4(place: Place) -> None:
    place.write(cartesia("voice"))
    place.env["CARTESIA_API_KEY"] = ""
    assert checks(place, 4)["account", "cartesia"][0] == "problem"


def hanging(place: Place, listener: Listener) -> Running:
    place.write(cartesia("voice"), listener.table("team"))
    place.fault("hang_before", provider="oxen", operation="list", times=None)
    doctor = place.start("doctor")
    fine = [r"account +cartesia .* answers", r"account +cohere .* answers", "hook +team .* ready"]
    for row in (*fine, "database .* schema", "daemon .* not running"):
        eventually(partial(lambda row: re.search(row, doctor.out), row), row)
    assert "account   oxen" not in doctor.out
    assert doctor.process.poll() is None
    return doctor


def test_what_answers_is_told_while_another_hangs(place: Place, listener: Listener) -> None:
    doctor = hanging(place, listener)
    doctor.signal(signal.SIGINT)
    assert doctor.wait() == 130


@pytest.mark.long
def test_what_hangs_has_its_own_limit(place: Place, listener: Listener) -> None:
    doctor = hanging(place, listener)
    assert doctor.wait() == 1
    assert re.search("problem  account   oxen .* no answer within 10 s", doctor.out)
