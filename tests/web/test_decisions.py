"""Cancel and retry over the API do what the commands do, and say the same where they cannot."""

from pathlib import Path

import pytest
from pydantic import TypeAdapter

from orchestrator.app.decision import DecidedDocument

from .daemon import Daemon, document, orchestrator, running, until


def test_a_running_job_is_cancelled(busy: Daemon) -> None:
    reply = busy.decide("chat", "cancel")
    assert reply.status_code == 202
    TypeAdapter(DecidedDocument).validate_json(reply.content)
    assert reply.json()["job"]["cancel_requested"] is True
    assert reply.json()["notes"] == []
    until(lambda: busy.job("chat")["status"] == "cancelled")
    assert document(busy.folder, "status", "chat")["jobs"] == [busy.job("chat")]


def test_a_provider_without_a_cancel_is_told_of(busy: Daemon) -> None:
    reply = busy.decide("narrator", "cancel")
    assert reply.status_code == 202
    assert reply.json()["job"]["cancel_requested"] is True
    assert reply.json()["notes"][0].endswith("has no cancel: the request is recorded, but billing continues.")


def test_what_runs_is_not_retried(busy: Daemon) -> None:
    reply = busy.decide("broken", "retry")
    assert reply.status_code == 409
    assert reply.json()["error"].endswith("only a failed, cancelled or lost run can be retried")
    assert busy.job("broken")["attempt"] == 1


@pytest.mark.parametrize("what", ["cancel", "retry"])
def test_a_job_that_succeeded_is_left_alone(settled: Daemon, what: str) -> None:
    reply = settled.decide("narrator", what)
    assert reply.status_code == 409
    typed = orchestrator(settled.folder, what, "narrator", "-y")
    assert (typed.returncode, typed.stdout) == (1, "")
    assert f"error: {reply.json()['error']}\n" in typed.stderr


@pytest.mark.parametrize("what", ["cancel", "retry"])
def test_a_job_that_is_not_known(settled: Daemon, what: str) -> None:
    reply = settled.decide("nobody", what)
    assert (reply.status_code, reply.json()["error"]) == (404, "no job nobody is recorded")


def test_a_failed_job_is_bought_again_at_once(tmp_path: Path) -> None:
    with running(tmp_path) as daemon:
        daemon.listen()
        until(lambda: daemon.job("broken")["status"] == "failed")
        reply = daemon.decide("broken", "retry")
        assert reply.status_code == 202
        assert reply.json()["job"]["attempt"] == 2
        until(lambda: daemon.job("broken")["status"] == "failed")
        told = [
            event["run_id"] for event in daemon.get("/api/v1/events")["events"] if event["job"] == "broken"
        ]
        assert len(set(told)) == 2
        assert daemon.stop() == 0
