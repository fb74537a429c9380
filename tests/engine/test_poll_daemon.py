"""What a person types reaches the daemon at once, however rarely it polls; and what it says of its looks."""

from typing import Any

from drive import Place, cartesia, eventually, oxen

SOON = 15.0
"""Far below the interval of an hour, and below the half minute in which every loop looks by itself."""


def account(place: Place, name: str) -> dict[str, Any]:
    found: list[dict[str, Any]] = place("status", "--json").json["providers"]
    return next(one for one in found if one["provider"] == name)


def test_a_command_does_not_wait_for_the_next_tick(place: Place) -> None:
    place.env["ORCHESTRATOR_POLL_INTERVAL"] = "1h"
    place.write(oxen("chat", resource="main/stuck-me.parquet"))
    place("apply", "-y")
    daemon = place.start("up", "--no-apply")
    eventually(lambda: account(place, "oxen")["confirmed_at"], "the first look")
    looks = len(place.ledger().asked("list"))
    place("cancel", "chat", "-y")
    eventually(lambda: place.ledger().asked("cancel"), "the cancellation", SOON)
    place.write(oxen("chat", resource="main/stuck-me.parquet"), cartesia("voice", dataset="stuck-me"))
    place("apply", "-y")
    eventually(lambda: place.ledger().asked("create", "cartesia"), "the new run", SOON)
    assert len(place.ledger().asked("list", "oxen")) == looks
    assert daemon.stop() == 0


def test_the_interval_and_the_next_look_are_shown(place: Place) -> None:
    place.env["ORCHESTRATOR_POLL_INTERVAL"] = "1h"
    place.write(cartesia("voice", dataset="stuck-me"))
    place("apply", "-y")
    daemon = place.start("up")
    eventually(lambda: account(place, "cartesia")["confirmed_at"], "the first look")
    assert daemon.stop() == 0
    found = account(place, "cartesia")
    assert (found["state"], found["poll_interval"], found["poll_lag"]) == ("ok", "1h", 0)
    assert "cartesia: looked at every 1h, next in 5" in place("status").err
    assert ", every 1h at least" in place("why", "voice").out
    listed = place("providers").out
    assert "NEXT LOOK" in listed
    assert "1h" in listed
