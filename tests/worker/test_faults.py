"""Providers at their worst: no answer, no sense, no credential; the ledger says what was made of it."""

import time

import pytest
from drive import Place, cartesia, cloudflare, cohere, oxen
from listener import Listener


def kinds(place: Place, job: str | None = None) -> list[str]:
    """Return the types of what happened."""
    return [event["type"] for event in place.events(*([job] if job else []))]


def account(place: Place, name: str) -> dict[str, object]:
    found = place("status", "--json").json["providers"]
    return next(dict(one) for one in found if one["provider"] == name)


def test_a_lost_answer_is_found_and_never_sent_again(place: Place) -> None:
    place.adapter()
    place.write(cartesia("voice"), oxen("chat"), cloudflare("lora"), cohere("labels"))
    place.fault("drop_after", operation="create", times=4)
    place.fault("drop_after", operation="run")
    daemon = place.up()
    for job in ("voice", "chat", "lora", "labels"):
        assert daemon.said("run.advanced", job=job, status="in_doubt", reason="looking")
    ledger = place.ledger()
    assert ledger.counts == {"cartesia": 1, "oxen": 1, "cloudflare": 1, "cohere": 1}
    assert len(ledger.asked("create")) == 4
    assert len(ledger.asked("run")) == 1
    assert ledger.refused == []
    assert {job["status"] for job in place.jobs().values()} == {"succeeded"}
    assert "job.in_doubt" not in kinds(place)  # nobody was needed


def test_a_request_that_may_have_arrived_is_looked_for(place: Place) -> None:
    place.write(cartesia("voice"), cartesia("other"))
    place.fault("drop_before", operation="create")
    daemon = place.start("up")
    daemon.until("run.advanced", job="voice", status="in_doubt", reason="looking")
    daemon.until("run.advanced", job="other", status="succeeded")
    daemon.kill()
    again = place.start("up")
    again.until("daemon.started")
    assert again.stop() == 0
    job = place.job("voice")
    assert (job["status"], job["reason"], job["remote_id"]) == ("in_doubt", "looking", None)
    assert "cut off" in job["message"]
    assert len(place.ledger().asked("create")) == 2
    assert place.ledger().counts["cartesia"] == 1
    assert "job.in_doubt" not in kinds(place)
    place("wait", "voice", "--timeout", "200ms", code=3)


@pytest.mark.long
def test_doubt_ends_with_a_person_or_with_the_window(place: Place, listener: Listener) -> None:
    """A verdict takes the send's own 30 seconds and the window, in real time: nobody may shorten that."""
    second = place.accounts() + f'[providers.bold]\nkind = "cartesia"\nbase_url = "{place.url}/cartesia"\n'
    window = 'doubt_window = "1s"\n'
    place.write(
        cartesia("voice"),
        cartesia("again", account="bold"),
        settings='hooks = ["team"]',
        accounts=second.replace("[providers.cartesia]\n", f"[providers.cartesia]\n{window}")
        + f'after_doubt = "resend"\n{window}'
        + listener.table("team"),
    )
    place.fault("drop_before", operation="create", times=2)
    begun = time.monotonic()
    daemon = place.start("up", "--until-settled")
    daemon.until("run.advanced", job="again", before="in_doubt", status="pending")
    assert daemon.wait() == 5
    assert time.monotonic() - begun > 31  # a lower limit, which no slow machine breaks
    jobs = place.jobs()
    assert (jobs["voice"]["status"], jobs["voice"]["reason"]) == ("in_doubt", "parked")
    assert "orchestrator resolve voice" in jobs["voice"]["message"]
    assert jobs["again"]["status"] == "succeeded"
    ledger = place.ledger()
    assert ledger.counts["cartesia"] == 1
    assert len(ledger.asked("create")) == 3
    assert kinds(place, "voice") == ["job.in_doubt"]
    assert listener.heard().count(("job.in_doubt", "voice")) == 1
    place("wait", "voice", code=5)
    place.up(code=5)
    assert len(place.ledger().asked("create")) == 3
    assert kinds(place, "voice") == ["job.in_doubt"]


REFUSALS = (400, 404, 405, 410, 413, 415, 422)
DOUBTS = (307, 408, 409, 425, 500, 502, 503)
NONSENSE = (
    *("html", "null", "array", "empty", "no_content", "no_id", "empty_id", "dotted_id", "wrong_types"),
    *("truncated", "garbage", "deep", "bad_utf8", "duplicate_length", "bad_chunk", "huge_int"),
)


def test_each_answer_to_a_create_has_its_meaning(place: Place) -> None:
    count = len(REFUSALS) + len(DOUBTS) + len(NONSENSE)
    place.write(*(cartesia(f"job-{number}") for number in range(count)))
    for code in (*REFUSALS, *DOUBTS):
        place.fault("status", operation="create", code=code)
    for name in NONSENSE:
        place.fault(name, operation="create")
    place("apply", "-y", code=1)
    ledger, jobs = place.ledger(), place.jobs()
    assert len(ledger.asked("create")) == count
    assert ledger.counts["cartesia"] == len(NONSENSE)
    for request in ledger.asked("create"):
        job = jobs[request["body"]["name"]]
        if request["fault"] != "status":  # it was made, and is found by its marker
            assert job["status"] in ("running", "succeeded"), (request, job)
        elif request["status"] in REFUSALS:
            assert job["status"] == "failed", request
            assert str(request["status"]) in job["message"]
        else:
            assert (job["status"], job["reason"]) == ("in_doubt", "looking"), request
    place("apply", "-y", code=None)
    assert len(place.ledger().asked("create")) == count


def test_a_provider_that_asks_to_wait_is_left_alone(place: Place) -> None:
    place.write(cartesia("voice"), oxen("chat"))
    place.fault("status", operation="create", provider="cartesia", code=429, retry_after=3600)
    daemon = place.start("up")
    daemon.until("run.advanced", job="voice", before="submitting", status="pending")
    daemon.until("run.advanced", job="chat", status="succeeded")
    assert daemon.stop() == 0
    job = place.job("voice")
    assert (job["status"], job["reason"]) == ("pending", None)
    assert "429" in job["message"]
    assert len(place.ledger().asked("create", "cartesia")) == 1
    said = place("apply", "-y", "--wait", "--timeout", "1s", code=3).err
    assert "429" in said
    assert len(place.ledger().asked("create", "cartesia")) == 1


def test_a_refused_credential_pauses_its_account_alone(place: Place, listener: Listener) -> None:
    place.write(
        cartesia("voice"),
        oxen("chat"),
        settings='hooks = ["team"]',
        accounts=place.accounts() + listener.table("team", "provider.paused", "provider.resumed"),
    )
    good = place.env["CARTESIA_API_KEY"]
    place.env["CARTESIA_API_KEY"] = "refuse-me"
    daemon = place.start("up")
    daemon.until("account.paused", account="cartesia")
    daemon.until("run.advanced", job="chat", status="succeeded")
    daemon.until("hook.delivered", hook_event="provider.paused")
    assert daemon.stop() == 0
    job = place.job("voice")
    assert (job["status"], job["reason"]) == ("pending", "credentials")
    assert "401" in job["message"]
    assert "refuse-me" not in daemon.err
    paused = account(place, "cartesia")
    assert paused["state"] == "paused"
    assert account(place, "oxen")["state"] == "idle"

    place("apply", "-y", code=4)
    place.write(
        cartesia("voice"),
        oxen("chat"),
        oxen("more"),
        settings='hooks = ["team"]',
        accounts=place.accounts() + listener.table("team", "provider.paused", "provider.resumed"),
    )
    place("apply", "-y")  # this plan does not need it
    assert kinds(place).count("provider.paused") == 1

    place.env["CARTESIA_API_KEY"] = good
    place.up()
    assert place.job("voice")["status"] == "succeeded"
    assert account(place, "cartesia")["state"] == "idle"
    assert kinds(place).count("provider.resumed") == 1
    accounts = [message for message in listener.messages if message.data["job"] is None]
    assert [message.type for message in accounts] == ["provider.paused", "provider.resumed"]
    assert accounts[0].data["provider"] == "cartesia"
    assert place.ledger().counts["cartesia"] == 1


def test_a_mended_credential_serves_the_next_apply(place: Place) -> None:
    place.write(cartesia("voice"))
    good = place.env.pop("CARTESIA_API_KEY")
    found = place("apply", "-y", code=4)
    assert "CARTESIA_API_KEY" in found.err
    assert place.ledger().requests == []
    place("apply", "-y", env={"CARTESIA_API_KEY": good})
    assert place.ledger().counts["cartesia"] == 1


def test_a_mended_address_serves_the_next_apply(place: Place) -> None:
    closed = place.accounts().replace(place.url, "http://127.0.0.1:9")
    place.write(cartesia("voice"), accounts=closed)
    for _ in range(4):
        assert "could not connect" in place("apply", "-y", code=1).err
    assert place.ledger().requests == []
    place.write(cartesia("voice"))
    place("apply", "-y")
    assert place.ledger().counts["cartesia"] == 1


def test_a_failed_look_changes_no_status(place: Place) -> None:
    place.write(cartesia("voice", dataset="stuck-me"))
    daemon = place.start("up")
    daemon.until("run.advanced", job="voice", status="running")
    place.fault("status", operation="list", code=503)
    place.fault("html", operation="list")
    daemon.until("account.failed", failures=1)
    assert account(place, "cartesia")["state"] == "stale"
    assert place.job("voice")["status"] == "running"
    daemon.until("account.failed", failures=2)
    place.set("cartesia", place.job("voice")["remote_id"], "completed")
    daemon.until("run.advanced", job="voice", before="running", status="succeeded")
    assert daemon.stop() == 0
    assert account(place, "cartesia")["state"] == "idle"


def test_a_word_nobody_knows_is_shown_and_moves_nothing(place: Place) -> None:
    place.write(cartesia("voice", dataset="stuck-me"))
    daemon = place.start("up")
    daemon.until("run.advanced", job="voice", status="running")
    remote_id = place.job("voice")["remote_id"]
    place.set("cartesia", remote_id, "simmering")
    place.until(lambda: place.job("voice")["provider_status"] == "simmering")
    assert place.job("voice")["status"] == "running"
    assert "simmering" in place("status").out
    place.set("cartesia", remote_id, "completed")
    daemon.until("run.advanced", job="voice", status="succeeded")
    assert daemon.stop() == 0
    assert "simmering" not in {event["provider_status"] for event in place.events()}


def test_what_vanished_is_lost_after_two_looks_and_a_read(place: Place, listener: Listener) -> None:
    place.write(
        cartesia("voice", dataset="stuck-me"),
        settings='hooks = ["team"]',
        accounts=place.accounts() + listener.table("team"),
    )
    daemon = place.start("up", "--until-settled")
    daemon.until("run.advanced", job="voice", status="running")
    remote_id = place.job("voice")["remote_id"]
    place.fault("html", operation="list", times=1)
    place.remove("cartesia", remote_id)
    assert daemon.wait() == 5
    job = place.job("voice")
    assert (job["status"], job["remote_id"]) == ("lost", remote_id)
    after = place.ledger().requests
    read = next(row for row in after if row["operation"] == "get" and row["status"] == 404)
    seen = max(row["seq"] for row in after if row["operation"] == "create")
    complete = [
        row
        for row in after
        if row["operation"] == "list" and seen < row["seq"] < read["seq"] and row["outcome"] == "accepted"
    ]
    assert len(complete) >= 2
    assert listener.heard() == [("job.lost", "voice")]
    assert place.ledger().counts["cartesia"] == 1


def test_a_training_that_fails_says_why(place: Place, listener: Listener) -> None:
    place.write(
        cartesia("voice", dataset="fail-me"),
        oxen("chat", resource="main/fail-me.parquet"),
        settings='hooks = ["team"]',
        accounts=place.accounts() + listener.table("team"),
    )
    place.up(code=5)
    jobs = place.jobs()
    assert {job["status"] for job in jobs.values()} == {"failed"}
    assert jobs["chat"]["message"]
    assert sorted(listener.heard()) == [("job.failed", "chat"), ("job.failed", "voice")]
    place("wait", "voice", code=5)


def test_a_deaf_receiver_holds_nothing_else_back(place: Place, listener: Listener) -> None:
    deaf = listener.table("deaf").replace(listener.url, "http://127.0.0.1:9/closed")
    place.write(
        cartesia("voice", 'hooks = ["deaf", "team"]'),
        accounts=place.accounts() + listener.table("team") + deaf,
    )
    listener.answers[:] = [503]
    daemon = place.start("up")
    daemon.until("hook.failed", hook="deaf")
    daemon.until("hook.delivered", hook="team")
    assert daemon.stop() == 0
    assert len(listener.messages) == 2
    assert len({message.id for message in listener.messages}) == 1
    found = {row["hook"]: row for row in place("hooks", "log", "--json").json["deliveries"]}
    assert (found["team"]["state"], found["team"]["attempts"]) == ("delivered", 2)
    assert found["deaf"]["state"] == "pending"
    assert found["deaf"]["last_error"]
