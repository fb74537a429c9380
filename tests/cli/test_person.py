"""What a person at the terminal decides and is told: lost answers, what no job knows, cancellations."""

import json
from typing import Any

import pytest
from drive import Place, cartesia

AUDITED = "cartesia"


def audited(place: Place) -> list[dict[str, Any]]:
    """Return what `audit` finds at the one account that is used here."""
    found: list[dict[str, Any]] = place("audit", AUDITED, "--json").json["findings"]
    return found


def turned_up(place: Place) -> dict[str, Any]:
    """Wait until a request that was applied late shows in the audit."""
    found: list[dict[str, Any]] = place.until(lambda: audited(place), "a finding")
    (one,) = found
    return one


def obey(place: Place, finding: dict[str, Any]) -> None:
    """Type what the audit says."""
    command, *args = finding["to_do"].split()
    assert command == "orchestrator"
    place(*args, "-y")


def test_what_was_given_up_and_turns_up_is_taken_in(place: Place) -> None:
    place.write(cartesia("voice"))
    place.fault("applied_late", provider="cartesia", seconds=0.5)
    place("apply", "-y")
    place("resolve", "voice", "--abandon", "-y")
    finding = turned_up(place)
    assert (finding["whose"], finding["job"]) == ("ours", "voice")
    obey(place, finding)
    job = place.job("voice")
    assert (job["remote_id"], job["attempt"]) == (finding["id"], 2)
    assert audited(place) == []
    place.up()
    assert place.job("voice")["status"] == "succeeded"
    assert place.ledger().counts["cartesia"] == 1
    place("import", "voice", finding["id"], "-y", code=1)


def test_what_was_sent_again_and_turns_up_is_ended(place: Place) -> None:
    place.write(cartesia("voice", dataset="stuck-me"))
    place.fault("applied_late", provider="cartesia", seconds=0.5)
    place("apply", "-y")
    place("resolve", "voice", "--resend", "-y")
    finding = turned_up(place)
    assert "already has a run" in place("import", "voice", finding["id"], "-y", code=1).err
    assert finding["to_do"] == f"orchestrator audit cartesia --delete {finding['id']}"
    place("audit", "--delete", finding["id"], code=3)
    place("audit", "--delete", finding["id"], "--cancel", finding["id"], "-y", code=2)
    assert place.ledger().asked("delete") == []
    obey(place, finding)
    assert audited(place) == []
    lines = place("why", "voice").out
    assert lines.index("attempt 1 sent") < lines.index("given up by a person") < lines.index("attempt 2 sent")


def test_what_belongs_to_nobody_here_is_left_to_its_owner(place: Place) -> None:
    place.write(cartesia("voice"))
    place("apply", "-y", "--wait")
    place.write(cartesia("another"), settings='database = "sqlite:///other.db"')
    text = (place.folder / "jobs.toml").read_text().replace(f'project = "{place.name}"', 'project = "other"')
    (place.folder / "jobs.toml").write_text(text)
    made = place.seed("cartesia", description="By hand", dataset="ds-1", language="en")
    theirs, unknown = sorted(audited(place), key=lambda one: str(one["whose"]))
    assert (theirs["whose"], theirs["to_do"]) == ("another project's", None)
    assert (unknown["whose"], unknown["id"]) == ("unknown", made)
    assert made in unknown["to_do"]


def test_a_dataset_that_a_job_names_is_known(place: Place) -> None:
    ids = []
    for name in ("used", "left"):
        reply = place.client.post(
            f"{place.url}/cartesia/datasets/",
            json={"name": name, "description": ""},
            headers={"Authorization": f"Bearer {place.name}:dummy", "Cartesia-Version": "2026-03-01"},
        )
        ids.append(reply.json()["id"])
    place.write(cartesia("voice", dataset=ids[0]))
    assert [(one["what"], one["id"], one["to_do"]) for one in audited(place)] == [("dataset", ids[1], None)]
    assert "is a dataset" in place("audit", "--delete", ids[1], "-y", code=1).err


def test_a_cancellation_that_ends_nothing_is_said_once_and_stays(place: Place) -> None:
    place.write(cartesia("voice", dataset="stuck-me"))
    place("apply", "-y")
    place("cancel", "voice", "-y")
    said = "cancel requested, still billing: Cartesia has no cancel"
    assert place("status").out.count("cancel requested") == place("status").out.count(said) == 1
    told = place("why", "voice").out
    assert said in told
    assert "You asked to cancel it." in told
    assert "--delete" in told


def test_beside_a_daemon_a_cancellation_is_said_to_be_its_work(place: Place) -> None:
    place.write(cartesia("voice", dataset="stuck-me"))
    daemon = place.start("up")
    daemon.until("run.advanced", job="voice", status="running")
    assert "running: cancel requested; the daemon will do it" in place("cancel", "voice", "-y").err
    place.until(lambda: "still billing" in (place.job("voice")["message"] or ""), "the refusal")
    assert daemon.stop() == 0


def test_a_renamed_job_is_shown_and_keeps_its_story(place: Place) -> None:
    place.write(cartesia("voice", dataset="ds-1"))
    place.up()
    before = json.loads(place("why", "voice", "--json").out)["timeline"]
    place.write(cartesia("narrator", dataset="ds-1"))
    assert "orchestrator import narrator" in place("why", "narrator").out
    place("why", "nobody", code=1)
    place.up()
    job = place.job("narrator")
    assert (job["status"], job["reason"]) == ("pending", "held")
    assert "orchestrator import narrator" in job["message"]
    remote_id = place.job("voice")["remote_id"]
    place("import", "narrator", remote_id, "-y")
    assert json.loads(place("why", "narrator", "--json").out)["timeline"] == before
    assert place.ledger().counts["cartesia"] == 1


@pytest.mark.parametrize("ended", ["failed", "cancelled", "lost"])
def test_a_renamed_job_that_brought_nothing_is_not_bought_again_unasked(place: Place, ended: str) -> None:
    work = "fail-me" if ended == "failed" else "stuck-me"
    place.write(cartesia("voice", dataset=work))
    place("apply", "-y")
    made = place.job("voice")["remote_id"]
    if ended == "cancelled":
        place("cancel", "voice", "--delete", "-y")
    elif ended == "lost":
        place.remove("cartesia", made)
    place("apply", "-y", "--wait", code=None)  # it may have ended before
    assert place.job("voice")["status"] == ended
    place.write(cartesia("narrator", dataset=work))
    place.up()
    job = place.job("narrator")
    assert (job["status"], job["reason"]) == ("pending", "held")
    take_over = f"orchestrator import narrator {made}"
    assert f"`{take_over}`" in job["message"]
    assert "`orchestrator retry narrator`" in job["message"]
    place("apply", "-y")
    assert place.ledger().counts["cartesia"] == 1
    place(*take_over.split()[1:], "-y")
    assert place("plan", "--detailed-exitcode").code == 0
    assert place.ledger().counts["cartesia"] == 1
    place("retry", "narrator", "-y")
    assert (place.job("narrator")["attempt"], place.ledger().counts["cartesia"]) == (2, 2)


def test_what_was_held_and_left_the_files_is_forgotten(place: Place) -> None:
    place.write(cartesia("one"), cartesia("two"), settings="max_new_runs = 1")
    place.up()
    place.write(cartesia("one"), settings="max_new_runs = 1")
    assert "two" not in place("plan").out
    place.up()
    assert list(place.jobs()) == ["one"]
    assert place.ledger().counts["cartesia"] == 1


def test_adopting_shows_what_is_there_before_it_asks(place: Place) -> None:
    place.write(cartesia("voice", dataset="ds-1"))
    place.fault("drop_before", provider="cartesia", operation="create")
    place("apply", "-y")
    made = place.seed("cartesia", description="By hand", dataset="ds-2", language="en")
    said = place("resolve", "voice", "--adopt", made, code=3).err
    assert "attempt 1" in said
    assert "dataset differs: declared ds-1, at the provider ds-2" in said
    assert "orchestrator audit cartesia" in place("resolve", "voice", "--adopt", "ft_none", "-y", code=1).err
    assert place.job("voice")["status"] == "in_doubt"
    place("resolve", "voice", "--adopt", made, "-y")
    assert place.job("voice")["remote_id"] == made
