"""Every installed hook kind: it delivers the stored bytes, tells a failure, heals, and shows no secret."""

import asyncio
import base64
import json
import logging
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import quote

import anyio
import pytest

from orchestrator.config.manifest import HookOptions
from orchestrator.core.delivery import Delivery
from orchestrator.core.event import EventType
from orchestrator.errors import HookError
from orchestrator.hooks.base import Hook
from orchestrator.hooks.example import example
from orchestrator.hooks.registry import registry

NOW = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)
CANARY = "whsec_" + base64.b64encode(b"canary-canary-canary-canary").decode()
Mood = Literal["take", "fail", "later", "hang"]


class Receiver(ABC):
    """The other side of one kind, which takes, refuses, asks for a later try, or never ends."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @abstractmethod
    def table(self) -> Mapping[str, Any]:
        """Return the hook's table."""

    @abstractmethod
    def be(self, mood: Mood) -> None:
        """Do so from now on."""

    @abstractmethod
    def received(self) -> Sequence[bytes]:
        """Return every body that arrived, the first first."""

    def carried(self, delivery: Delivery) -> bytes:
        """Return what arrives of a delivery."""
        return delivery.body

    def asked_for_time(self, error: HookError) -> bool:
        """Say whether the mood `later` came through."""
        return error.later or error.retry_after == 60

    hasty = "300ms"
    """The shortest time-out that the kind takes."""

    @classmethod
    @asynccontextmanager
    async def opened(cls, folder: Path) -> AsyncIterator[Self]:
        yield cls(folder)


class Script(Receiver):
    ENDS: Mapping[Mood, str] = {
        "take": "exit 0",
        "fail": "echo no >&2; exit 1",
        "later": "exit 75",
        "hang": "sleep 600",
    }

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.be("take")

    def table(self) -> Mapping[str, Any]:
        return {"kind": "command", "command": ("./hook.sh",), "timeout": "30s"}

    def be(self, mood: Mood) -> None:
        script = self.folder / "hook.sh"
        script.write_text(f'#!/bin/sh\nnumber=$(ls | wc -l)\ncat >"body.$number"\n{self.ENDS[mood]}\n')
        script.chmod(0o755)

    def received(self) -> Sequence[bytes]:
        return [path.read_bytes() for path in sorted(self.folder.glob("body.*"))]


class Server(Receiver):
    STATUS: Mapping[Mood, str] = {
        "take": "204 X",
        "fail": f"500 X\r\nx-echo: {CANARY}",
        "later": "503 X\r\nretry-after: 60",
    }

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.mood: Mood = "take"
        self.bodies: list[bytes] = []
        self.writers: list[asyncio.StreamWriter] = []
        self.port = 0

    def table(self) -> Mapping[str, Any]:
        return {
            "kind": "webhook",
            "url": f"http://localhost:{self.port}/",
            "secret": {"env": "CANARY"},
            "allow_private": True,
            "timeout": "30s",
        }

    def be(self, mood: Mood) -> None:
        self.mood = mood

    def received(self) -> Sequence[bytes]:
        return self.bodies

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = int(head.partition("content-length:")[2].split("\r\n")[0])
        self.bodies.append(await reader.readexactly(length))
        if self.mood == "hang":
            await reader.read()
        else:
            echo = CANARY.encode() if self.mood == "fail" else b""
            end = "" if self.mood == "take" else f"content-length: {len(echo)}\r\n"
            writer.write(
                f"HTTP/1.1 {self.STATUS[self.mood]}\r\nconnection: close\r\n{end}\r\n".encode() + echo
            )
        writer.close()
        await writer.wait_closed()

    @classmethod
    @asynccontextmanager
    async def opened(cls, folder: Path) -> AsyncIterator[Self]:
        self = cls(folder)
        async with await asyncio.start_server(self.serve, "127.0.0.1", 0) as server:
            self.port = server.sockets[0].getsockname()[1]
            yield self
            for writer in self.writers:
                writer.close()


class Service(Server):
    """What apprise speaks to: it gets a message in place of the stored bytes."""

    hasty = "1s"

    def table(self) -> Mapping[str, Any]:
        url = self.folder / "url"
        url.write_text(f"json://localhost:{self.port}/{quote(CANARY, safe='')}")
        url.chmod(0o600)
        template = '{"type": "{{ type }}"}'
        return {"kind": "notify", "url": {"file": str(url)}, "template": template, "timeout": "30s"}

    def received(self) -> Sequence[bytes]:
        return [json.loads(body)["message"].encode() for body in self.bodies]

    def carried(self, delivery: Delivery) -> bytes:
        return json.dumps({"type": delivery.event}).encode()

    def asked_for_time(self, error: HookError) -> bool:
        return error.down  # apprise does not hand on for how long


RECEIVERS: Mapping[str, type[Receiver]] = {"command": Script, "notify": Service, "webhook": Server}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(params=sorted(registry()))
async def pair(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[Hook, Receiver]]:
    """One hook of each kind, and its receiver."""
    monkeypatch.setenv("CANARY", CANARY)
    kind = registry()[request.param]
    async with AsyncExitStack() as held:
        receiver = await held.enter_async_context(RECEIVERS[request.param].opened(tmp_path))
        hook = kind(kind.Options.model_validate(receiver.table()), tmp_path, now=lambda: NOW)
        held.push_async_callback(hook.aclose)
        yield hook, receiver


@pytest.fixture
def delivery() -> Delivery:
    return example("team", EventType.SUCCEEDED, NOW, delivery_id="dlv_1", project="acme")


def test_every_kind_has_a_receiver_here() -> None:
    assert set(RECEIVERS) == set(registry())


async def test_it_delivers_the_stored_bytes(pair: tuple[Hook, Receiver], delivery: Delivery) -> None:
    hook, receiver = pair
    await hook.check()
    assert hook.problems() == {}
    answer = await hook.send(delivery)
    assert answer is None or isinstance(answer, str)
    assert receiver.received() == [receiver.carried(delivery)]


@pytest.mark.parametrize("event", EventType)
async def test_it_takes_every_event(pair: tuple[Hook, Receiver], event: EventType) -> None:
    hook, receiver = pair
    delivery = example("team", event, NOW, delivery_id="dlv_2", project="acme")
    await hook.send(delivery)
    assert json.loads(receiver.received()[0])["type"] == event


async def test_a_failure_is_told_and_heals(pair: tuple[Hook, Receiver], delivery: Delivery) -> None:
    hook, receiver = pair
    receiver.be("fail")
    with pytest.raises(HookError) as caught:
        await hook.send(delivery)
    assert not caught.value.later
    receiver.be("take")
    await hook.send(delivery)
    assert receiver.received() == [receiver.carried(delivery)] * 2


async def test_a_later_try_is_asked_for(pair: tuple[Hook, Receiver], delivery: Delivery) -> None:
    hook, receiver = pair
    receiver.be("later")
    with pytest.raises(HookError) as caught:
        await hook.send(delivery)
    assert receiver.asked_for_time(caught.value)


async def test_one_that_never_ends_is_uncertain(pair: tuple[Hook, Receiver], delivery: Delivery) -> None:
    hook, receiver = pair
    receiver.be("hang")
    options = type(hook).Options.model_validate({**receiver.table(), "timeout": receiver.hasty})
    hasty = type(hook)(options, hook.root, now=hook.now)
    with anyio.fail_after(30), pytest.raises(HookError, match=r"^uncertain"):
        await hasty.send(delivery)
    await hasty.aclose()
    assert hasty.deadline < hook.deadline


async def test_cancelling_is_clean(pair: tuple[Hook, Receiver], delivery: Delivery) -> None:
    hook, receiver = pair
    receiver.be("hang")
    with anyio.move_on_after(0.1) as scope:
        await hook.send(delivery)
    assert scope.cancelled_caught
    receiver.be("take")
    await hook.send(delivery)


async def test_no_secret_is_shown(
    pair: tuple[Hook, Receiver], delivery: Delivery, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    hook, receiver = pair
    receiver.be("fail")
    with pytest.raises(HookError) as caught:
        await hook.send(delivery)
    shown = f"{caught.value} {caught.value.hint} {hook.origin} {caplog.text} {hook.options!r}"
    assert CANARY.removeprefix("whsec_") not in shown
    assert all(CANARY.encode() not in body for body in receiver.received())


async def test_a_table_is_checked_strictly(pair: tuple[Hook, Receiver]) -> None:
    hook, receiver = pair
    with pytest.raises(ValueError, match="Extra inputs"):
        type(hook).Options.model_validate({**receiver.table(), "surprise": 1})
    assert issubclass(type(hook).Options, HookOptions)
    assert type(hook).Options.model_json_schema()["additionalProperties"] is False
