"""A question can be left: nothing is recorded, bought or ended by whoever did not answer yes."""

import signal
from collections.abc import Sequence
from typing import Any

import pytest
from drive import Place, cartesia
from listener import Listener
from terminal import CTRL_C, Terminal, on_terminals

QUESTION = "[y/N]: "


@pytest.fixture
def asking(place: Place, listener: Listener) -> list[Sequence[str]]:
    """Return every command that asks, each with something to ask about."""
    later = listener.table("later", "job.succeeded") + 'for = "1h"\n'
    told, failed = cartesia("told", 'hooks = ["later"]'), cartesia("failed", dataset="fail-me")
    place.write(later, told, failed, cartesia("gone", dataset="ds-same"))
    place("apply", "-y", "--wait", code=5)
    found = place.job("gone")["remote_id"]
    jobs = [later, told, failed, cartesia("open", dataset="stuck-me")]
    place.write(*jobs)
    place("apply", "-y")
    jobs.append(cartesia("lost"))
    place.write(*jobs)
    place.fault("drop_before", provider="cartesia", operation="create")
    place("apply", "-y")
    assert place.job("lost")["status"] == "in_doubt"
    place.write(*jobs, cartesia("new"), cartesia("heir", dataset="ds-same"), cartesia("adopted"))
    strange = place.seed("cartesia", description="By hand", dataset="ds-1", language="en")
    return [
        ("apply",),
        ("cancel", "open"),
        ("retry", "failed"),
        ("import", "heir", found),
        ("import", "adopted", strange),
        ("resolve", "lost", "--abandon"),
        ("audit", "--delete", strange),
        ("hooks", "drop", "later"),
    ]


def state(place: Place) -> Any:
    """Return all that a yes would have changed."""
    jobs = {
        name: (job["run_id"], job["status"], job["attempt"], job["cancel_requested"])
        for name, job in place.jobs().items()
    }
    ledger = place.ledger()
    return jobs, place.events(), place("plan", "--json").json, ledger.created, len(ledger.asked("delete"))


def leave(terminal: Terminal, how: str) -> int:
    if how == "Ctrl-C":
        terminal.type(CTRL_C)
    else:
        terminal.signal(signal.SIGTERM)
    terminal.type("y\n")
    return terminal.wait()


def test_no_question_holds_a_person(place: Place, asking: list[Sequence[str]]) -> None:
    before = state(place)
    for how, code, commands in (("Ctrl-C", 130, asking), ("SIGTERM", 143, asking[:1])):
        with on_terminals(place, *commands) as terminals:
            for each in terminals:
                each.until(QUESTION)
            codes = {each.args: leave(each, how) for each in terminals}
            assert codes == dict.fromkeys(commands, code)
            assert all("Nothing was done." in each.text for each in terminals)
    assert state(place) == before
    assert place("hooks", "log", "--json").json["deliveries"][0]["state"] == "pending"


def test_only_a_yes_is_a_yes(place: Place) -> None:
    place.write(cartesia("voice"))
    for answers in ({"what\nn\n": 3, "\x04": 3}, {"what\nYES\n": 0}):
        with on_terminals(place, *[["apply"]] * len(answers)) as terminals:
            for terminal, keys in zip(terminals, answers, strict=True):
                terminal.until(QUESTION)
                assert place.ledger().requests == []
                terminal.type(keys)
            assert [each.wait() for each in terminals] == list(answers.values())
    assert place.ledger().counts["cartesia"] == 1
