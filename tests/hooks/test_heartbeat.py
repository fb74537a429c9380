"""The sign of life: a plain GET, a deadline, and no address in the log."""

import logging
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
import structlog

from orchestrator.config.manifest import Settings
from orchestrator.config.secret import SecretRef
from orchestrator.hooks import heartbeat
from orchestrator.hooks.heartbeat import ping

from .receiver import Answer, Receiver, receiving, reply, reset


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as each:
        yield each


async def test_it_is_a_get_without_a_body(receiver: Receiver, tmp_path: Path) -> None:
    assert await ping(receiver.url(path="/abc?rid=1"), tmp_path, {})
    (sent,) = receiver.requests
    assert (sent.line, sent.body) == ("GET /abc?rid=1 HTTP/1.1", b"")


async def test_the_address_may_be_a_secret(receiver: Receiver, tmp_path: Path) -> None:
    reference = SecretRef(env="PULSE")
    assert await ping(reference, tmp_path, {"PULSE": f" {receiver.url()}\n"})
    assert not await ping(reference, tmp_path, {})
    assert not await ping(reference, tmp_path, {"PULSE": "nonsense"})
    assert not await ping(reference, tmp_path, {"PULSE": "https://[x"})
    assert len(receiver.requests) == 1


@pytest.mark.parametrize("answer", [reply(500), reply(302, location="http://127.0.0.1/"), reset])
async def test_a_failure_is_logged_without_the_address(
    receiver: Receiver, tmp_path: Path, caplog: pytest.LogCaptureFixture, answer: Answer
) -> None:
    caplog.set_level(logging.DEBUG)
    receiver.answer = answer
    with structlog.testing.capture_logs() as logs:
        assert not await ping(receiver.url(path="/token-0123"), tmp_path, {})
    assert [line["event"] for line in logs] == ["heartbeat.failed"]
    assert "token-0123" not in f"{logs} {caplog.text}"
    assert len(receiver.requests) == 1


async def test_one_that_hangs_is_given_up(
    receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat, "DEADLINE", timedelta(milliseconds=200))
    receiver.answer = receiver.hang
    assert not await ping(receiver.url(), tmp_path, {})


@pytest.mark.parametrize(
    "given",
    ["hc-ping.com/x", "ftp://hc-ping.com/x", "https:///x", "https://a b/", "https://u:p@hc-ping.com/"],
)
def test_what_is_no_address_is_refused_and_not_shown(given: str) -> None:
    with pytest.raises(ValueError, match="expected an address such as") as caught:
        Settings.model_validate({"heartbeat": given})
    assert given not in str(caught.value)


def test_an_address_is_not_shown_by_accident() -> None:
    assert "secret" not in repr(Settings.model_validate({"heartbeat": "https://hc-ping.com/secret?x=1"}))
