"""`up` buys by itself: on a terminal it says so and asks once, and every purchase is a line of its log."""

import signal

from drive import Place, cartesia, eventually
from terminal import CTRL_C, on_terminals

QUESTION = "[y/N]: "
BUYING = "a paid run, which the job files ask for"


def settled(place: Place, job: str) -> bool:
    return place.jobs().get(job, {}).get("status") == "succeeded"


def test_up_asks_once_before_it_buys(place: Place) -> None:
    place.write(cartesia("voice"))
    with on_terminals(place, ["up"], ["up"], ["up", "--until-settled"]) as (left, refused, agreed):
        for each in (left, refused, agreed):
            each.until(QUESTION)
            assert "1 paid run that the job files ask for:\n  + create voice (cartesia): new job" in each.text
        left.type(f"{CTRL_C}y\n")
        assert left.wait() == 130
        assert place.jobs() == {}

        place.write(cartesia("voice"), cartesia("more"))  # while it asks
        refused.type("n\n")
        eventually(lambda: place.jobs().get("more", {}).get("reason") == "held", "the new job to be held")
        refused.until("New work waits for `orchestrator apply`.")
        refused.signal(signal.SIGTERM)
        assert refused.wait() == 0
        assert place.ledger().asked("create") == []

        agreed.type("y\n")
        assert agreed.wait() == 0
        assert " ".join(agreed.text.split()).count(BUYING) == len(place.ledger().asked("create")) >= 1


def test_a_saved_file_is_said_to_be_bought_before_it_is(place: Place) -> None:
    place.write(cartesia("voice"))
    with on_terminals(place, ["up", "-y"]) as (daemon,):
        eventually(lambda: settled(place, "voice"), "the first job")
        place.write(cartesia("voice"), cartesia("later"))
        eventually(lambda: settled(place, "later"), "the job that was saved")
        daemon.signal(signal.SIGTERM)
        assert daemon.wait() == 0
        assert QUESTION not in daemon.text
    place.write(cartesia("voice"), cartesia("later"), cartesia("last"))
    log = place.up()
    (said,) = [row for row in log.log if row["event"] == "run.buying"]
    assert (said["job"], said["account"], said["message"]) == ("last", "cartesia", BUYING)
    events = [row["event"] for row in log.log if row.get("job") == "last"]
    assert events.index("run.buying") < events.index("run.advanced"), events
