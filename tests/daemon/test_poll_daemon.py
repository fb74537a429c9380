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
    assert "cartesia: polled every 1h, next in 5" in place("status").err
    assert ", at least every 1h" in place("why", "voice").out
    listed = place("providers").out
    assert "NEXT POLL" in listed
    assert "1h" in listed


def test_told_to_end_it_cuts_a_listing_off_and_finishes_what_is_paid_for(place: Place) -> None:
    place.write(cartesia("voice"), oxen("chat"))
    place.fault("hang_before", provider="oxen", operation="list", times=None)
    place.fault("drip", provider="cartesia", operation="create", interval=0.005)
    daemon = place.start("up")
    eventually(lambda: place.ledger().asked("list", "oxen"), "the listing")
    eventually(lambda: place.ledger().asked("create", "cartesia"), "the purchase")
    assert daemon.stop() == 0
    assert daemon.said("daemon.draining")
    assert daemon.said("daemon.cut_off") is None
    (made,) = place.ledger().created["cartesia"]
    assert (place.job("voice")["remote_id"], place.job("voice")["reason"]) == (made["id"], None)
    assert (place.job("chat")["status"], place.ledger().created["oxen"]) == ("pending", [])
