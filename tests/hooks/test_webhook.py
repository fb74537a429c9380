"""Webhooks against a real receiver: what is sent, what each answer means, and what is never shown."""

import asyncio
import gzip
import logging
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from email.utils import format_datetime
from pathlib import Path

import anyio
import pytest
from standardwebhooks import Webhook as Verifier

from orchestrator.core.delivery import Delivery
from orchestrator.errors import HookError, HookGone
from orchestrator.hooks.webhook import READ, Webhook, WebhookOptions, make_secret
from orchestrator.net.address import Resolver, lookup

from .conftest import NOW
from .receiver import Answer, Receiver, receiving, reply, reset, vanish

Make = Callable[..., Webhook]


@pytest.fixture
async def make(receiver: Receiver, secret: str, tmp_path: Path) -> AsyncIterator[Make]:
    """Make webhooks that are closed at the end."""
    made: list[Webhook] = []

    def webhook(addresses: Resolver = lookup, *, patience: float = 10, **table: object) -> Webhook:
        table = {"url": receiver.url(), "allow_private": True, **table}
        table = {"kind": "webhook", "secret": {"env": "TEAM_HOOK_SECRET"}, **table}
        options = WebhookOptions.model_validate(table)
        made.append(Webhook(options, tmp_path, now=lambda: NOW, addresses=addresses, patience=patience))
        return made[-1]

    yield webhook
    for each in made:
        await each.aclose()


def _verify(receiver: Receiver, secret: str) -> None:
    """Let the reference library judge, without its clock."""
    sent = receiver.requests[-1]
    signatures = sent.headers["webhook-signature"].split(" ")
    assert Verifier(secret).sign(sent.headers["webhook-id"], NOW, sent.body.decode()) in signatures


async def test_the_stored_bytes_are_sent_and_signed(
    make: Make, receiver: Receiver, delivery: Delivery, secret: str
) -> None:
    assert await make().send(delivery) == "HTTP 200"
    (sent,) = receiver.requests
    assert sent.line == "POST /hook HTTP/1.1"
    assert sent.body == delivery.body
    assert sent.headers["webhook-id"] == delivery.id
    assert sent.headers["webhook-timestamp"] == str(int(NOW.timestamp()))
    assert sent.headers["content-type"] == "application/json"
    assert sent.headers["user-agent"].startswith("finetune-orchestrator/")
    assert sent.headers["host"] == f"127.0.0.1:{receiver.port}"
    assert "accept-encoding" not in sent.headers
    _verify(receiver, secret)


async def test_each_secret_of_a_rotation_signs(
    make: Make, receiver: Receiver, delivery: Delivery, secret: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = make_secret()
    monkeypatch.setenv("OLD", old.rstrip("="))
    await make(secret=[{"env": "TEAM_HOOK_SECRET"}, {"env": "OLD"}]).send(delivery)
    assert receiver.requests[0].headers["webhook-signature"].count("v1,") == 2
    _verify(receiver, secret)
    _verify(receiver, old)


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
async def test_2xx_is_done(make: Make, receiver: Receiver, delivery: Delivery, status: int) -> None:
    receiver.answer = reply(status, b"" if status == 204 else b"thanks")
    answer = await make().send(delivery)
    assert answer == (f"HTTP {status}" if status == 204 else f"HTTP {status}: thanks")


@pytest.mark.parametrize("status", [300, 301, 302, 303, 307, 308])
async def test_3xx_is_a_failure_and_not_followed(
    make: Make, receiver: Receiver, delivery: Delivery, status: int
) -> None:
    receiver.answer = reply(status, location=receiver.url(path="/other"))
    with pytest.raises(HookError, match=f"HTTP {status}") as caught:
        await make().send(delivery)
    assert "final address" in str(caught.value.hint)
    assert len(receiver.requests) == 1


async def test_410_ends_it(make: Make, receiver: Receiver, delivery: Delivery) -> None:
    receiver.answer = reply(410, b"unsubscribed")
    with pytest.raises(HookGone, match="HTTP 410: unsubscribed"):
        await make().send(delivery)


@pytest.mark.parametrize("status", [400, 401, 404, 409, 422, 500, 502, 504])
async def test_others_are_tried_again_on_the_schedule(
    make: Make, receiver: Receiver, delivery: Delivery, status: int
) -> None:
    receiver.answer = reply(status, b"oh \x1b[31mno\x00", retry_after="7")
    with pytest.raises(HookError, match=rf"^HTTP {status}: oh no$") as caught:
        await make().send(delivery)
    assert not isinstance(caught.value, HookGone)
    assert caught.value.retry_after is None
    assert not caught.value.later


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120.0),
        (format_datetime(NOW.replace(microsecond=0) + timedelta(hours=1), usegmt=True), 3599.5),
        ("-1", None),
        ("9" * 400, 86400.0),
        ("later", None),
        ("", None),
    ],
)
async def test_retry_after_is_passed_on(
    make: Make, receiver: Receiver, delivery: Delivery, status: int, value: str, seconds: float | None
) -> None:
    receiver.answer = reply(status, retry_after=value)
    with pytest.raises(HookError) as caught:
        await make().send(delivery)
    assert caught.value.retry_after == seconds


@pytest.mark.parametrize("how", ["hang", "drip_head"])
async def test_no_answer_in_time_is_uncertain(
    make: Make, receiver: Receiver, delivery: Delivery, how: str
) -> None:
    receiver.answer = getattr(receiver, how)
    with pytest.raises(HookError, match=r"^uncertain: no answer within 0\.2 s$"):
        await make(timeout="200ms").send(delivery)
    assert len(receiver.requests) == 1


async def test_a_reply_that_drips_after_its_status_changes_nothing(
    make: Make, receiver: Receiver, delivery: Delivery
) -> None:
    receiver.answer = receiver.drip_body
    assert str(await make(timeout="200ms").send(delivery)).startswith("HTTP 200")


async def test_a_reply_that_breaks_off_after_its_status_changes_nothing(
    make: Make, receiver: Receiver, delivery: Delivery
) -> None:
    async def torn(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf")
        writer.close()

    receiver.answer = torn
    assert await make().send(delivery) == "HTTP 200: half"


@pytest.mark.parametrize("answer", [reset, vanish], ids=["reset", "vanish"])
async def test_a_connection_that_breaks_is_uncertain(
    make: Make, receiver: Receiver, delivery: Delivery, answer: Answer
) -> None:
    receiver.answer = answer
    with pytest.raises(HookError, match=r"^uncertain: the connection broke before an answer"):
        await make().send(delivery)


async def test_garbage_is_a_failure(make: Make, receiver: Receiver, delivery: Delivery) -> None:
    async def garbage(writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH_9.6\r\n\r\n")

    receiver.answer = garbage
    with pytest.raises(HookError, match="RemoteProtocolError"):
        await make().send(delivery)


async def test_nobody_listening_is_known_not_to_have_been_sent(make: Make, delivery: Delivery) -> None:
    async with receiving() as gone:
        url = gone.url()
    with pytest.raises(HookError, match=r"^not sent: no connection to 127\.0\.0\.1"):
        await make(url=url).send(delivery)


async def test_little_of_a_large_reply_is_read(
    make: Make, receiver: Receiver, delivery: Delivery, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []

    def counting(raw: bytes, **kwargs: object) -> str:
        read.append(len(raw))
        return "x"

    monkeypatch.setattr("orchestrator.hooks.webhook.clean", counting)
    receiver.answer = reply(500, b"y" * 3_000_000)
    with pytest.raises(HookError):
        await make().send(delivery)
    assert read == [READ]


async def test_a_gzip_bomb_stays_packed(make: Make, receiver: Receiver, delivery: Delivery) -> None:
    receiver.answer = reply(500, gzip.compress(b"A" * 20_000_000), content_encoding="gzip")
    with pytest.raises(HookError) as caught:
        await make().send(delivery)
    assert "AAAA" not in caught.value.message
    assert len(caught.value.message) < 2100


async def test_no_secret_is_shown(
    make: Make, receiver: Receiver, delivery: Delivery, secret: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    path = "/services/T0123456789ABCDEF?token=hunter2hunter2"
    echo = f"{secret} {secret[6:]} POST {path} T0123456789ABCDEF"
    receiver.answer = reply(403, echo.encode())
    with pytest.raises(HookError) as caught:
        await make(url=receiver.url(path=path)).send(delivery)
    assert receiver.requests[0].line == f"POST {path} HTTP/1.1"
    for hidden in (secret[6:], "hunter2", "T0123456789ABCDEF"):
        assert hidden not in caught.value.message
        assert hidden not in caplog.text


async def test_private_is_refused_without_leave_and_nothing_is_sent(
    make: Make, receiver: Receiver, delivery: Delivery
) -> None:
    async def outside(host: str, port: int) -> tuple[str, ...]:
        return ("127.0.0.1",)

    for allow in (False, ["other.test"]):
        hook = make(outside, url=f"https://team.test:{receiver.port}/", allow_private=allow)
        with pytest.raises(HookError, match=r"^not sent: team\.test is 127\.0\.0\.1 \(loopback\)$"):
            await hook.send(delivery)
    assert receiver.connections == 0


async def test_a_name_that_turns_private_is_caught_at_the_next_attempt(
    make: Make, receiver: Receiver, delivery: Delivery
) -> None:
    answers = iter([("192.0.2.1",), ("8.8.8.8", "127.0.0.1"), ("127.0.0.1",)])
    asked: list[str] = []

    async def rebinding(host: str, port: int) -> tuple[str, ...]:
        asked.append(host)
        return next(answers)

    hook = make(rebinding, url=f"https://team.test:{receiver.port}/", allow_private=["else.test"])
    for reason in ("documentation", "loopback", "loopback"):
        with pytest.raises(HookError, match=reason):
            await hook.send(delivery)
    assert asked == ["team.test"] * 3
    assert receiver.connections == 0


async def test_it_dials_what_it_checked_and_asks_once(
    make: Make, receiver: Receiver, delivery: Delivery
) -> None:
    asked: list[tuple[str, int]] = []

    async def once(host: str, port: int) -> tuple[str, ...]:
        asked.append((host, port))
        return ("127.0.0.1",)

    # A name that exists nowhere: only the checked address can have been dialled.
    hook = make(once, url=f"http://Team.Invalid:{receiver.port}/x", allow_private=["team.invalid"])
    await hook.send(delivery)
    assert asked == [("team.invalid", receiver.port)]
    assert receiver.requests[0].headers["host"] == f"team.invalid:{receiver.port}"
    assert hook.origin == f"http://team.invalid:{receiver.port}"


async def test_the_next_address_is_dialled_where_one_refuses(
    make: Make, receiver: Receiver, delivery: Delivery
) -> None:
    async def both(host: str, port: int) -> tuple[str, ...]:
        return ("127.0.0.2", "127.0.0.1")

    await make(both).send(delivery)
    assert len(receiver.requests) == 1


async def test_a_slow_lookup_is_not_sent(make: Make, receiver: Receiver, delivery: Delivery) -> None:
    async def never(host: str, port: int) -> tuple[str, ...]:
        await anyio.sleep_forever()
        raise AssertionError

    with pytest.raises(HookError, match=r"^not sent: no secret or no address within"):
        await make(never, patience=0.05).send(delivery)
    assert receiver.connections == 0


async def test_what_a_lookup_takes_is_not_taken_from_the_answer(
    make: Make, receiver: Receiver, delivery: Delivery
) -> None:
    async def slow(host: str, port: int) -> tuple[str, ...]:
        await anyio.sleep(1.1)  # longer than the answer may take
        return ("127.0.0.1",)

    assert await make(slow, timeout="1s").send(delivery) == "HTTP 200"


async def test_connections_are_kept_one_for_each_at_once(
    make: Make, receiver: Receiver, delivery: Delivery
) -> None:
    hook = make()
    for _ in range(3):
        await hook.send(delivery)
    assert receiver.connections == 1
    together = asyncio.Event()

    async def wait_for_all(writer: asyncio.StreamWriter) -> None:
        if len(receiver.requests) == 8:
            together.set()
        await together.wait()
        await reply()(writer)

    receiver.answer = wait_for_all
    async with anyio.create_task_group() as group:
        for _ in range(5):
            group.start_soon(hook.send, delivery)
    assert len(receiver.requests) == 8
    assert receiver.connections in (5, 6)  # the first may have been idle too long on a busy machine


async def test_closing_waits_for_nobody_and_leaves_nothing_open(
    make: Make, receiver: Receiver, delivery: Delivery
) -> None:
    hook = make()
    receiver.answer = receiver.hang
    async with anyio.create_task_group() as group:
        group.start_soon(hook.send, delivery)
        await receiver.arrived.wait()
        await hook.aclose()
        group.cancel_scope.cancel()
    assert len(receiver.requests) == 1  # an open socket would be a ResourceWarning, and so an error


async def test_a_lost_secret_is_a_failure_that_heals(
    make: Make, receiver: Receiver, delivery: Delivery, monkeypatch: pytest.MonkeyPatch
) -> None:
    hook = make()
    monkeypatch.delenv("TEAM_HOOK_SECRET")
    with pytest.raises(HookError, match=r"^not sent: .*TEAM_HOOK_SECRET"):
        await hook.send(delivery)
    monkeypatch.setenv("TEAM_HOOK_SECRET", make_secret())
    await hook.send(delivery)
    assert len(receiver.requests) == 1
