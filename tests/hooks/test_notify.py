"""Messages to services, over apprise and real HTTP: what is said, what is harmless, what is bounded."""

import json
import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest
from crowded import crowded
from pydantic import ValidationError

from orchestrator.core.delivery import Delivery
from orchestrator.core.event import EventType
from orchestrator.errors import HookError, SecretError
from orchestrator.hooks import notify
from orchestrator.hooks._message import FIELDS, default, fields, harmless
from orchestrator.hooks.example import example
from orchestrator.hooks.notify import LARGEST_TEMPLATE, LONGEST, Notify, NotifyOptions, render

from .conftest import NOW
from .receiver import Receiver, receiving, reply

TOKEN = "tok-0123456789-canary"
Make = Callable[..., Notify]
DEEP = "".join(f"{{% for {name} in 'x' * 9999 %}}" for name in "abc") + "{% endfor %}" * 3
EVIL = (
    "@everyone <!channel> [here](http://evil.example) `code` *bold* www.evil.example \x1b[31m\u202e ~x~ |y|"
)


@pytest.fixture
def make(receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Make hooks that speak to the receiver, by apprise's generic JSON service."""
    monkeypatch.setenv("CHAT_URL", f"json://127.0.0.1:{receiver.port}/{TOKEN}")

    def hook(**table: object) -> Notify:
        options = NotifyOptions.model_validate({"kind": "notify", "url": {"env": "CHAT_URL"}, **table})
        return Notify(options, tmp_path, now=lambda: NOW)

    return hook


def said(receiver: Receiver) -> list[dict[str, Any]]:
    return [json.loads(sent.body) for sent in receiver.requests]


def about(delivery: Delivery, **data: object) -> Delivery:
    """Change what a delivery tells."""
    document = json.loads(delivery.body)
    document["data"] |= data
    return replace(delivery, body=json.dumps(document).encode())


async def test_a_message_arrives_with_its_title(make: Make, receiver: Receiver, delivery: Delivery) -> None:
    hook = make()
    await hook.check()
    assert hook.problems() == {}
    assert await hook.send(delivery) == "told JSON"
    (message,) = said(receiver)
    assert message["title"] == "[test] example succeeded"
    assert message["message"].startswith("Model: example-model\n")
    assert message["type"] == "success"


@pytest.mark.parametrize("event", EventType)
def test_every_event_has_a_message_of_its_own(event: EventType) -> None:
    made = example("chat", event, NOW, delivery_id="d", project="acme")
    message = default(about(made, test=False))
    assert "example" in message.title
    assert message.text
    assert "None" not in message.title + message.text
    assert "{" not in message.title + message.text


def test_a_replaced_run_and_another_attempt_are_said(delivery: Delivery) -> None:
    message = default(about(delivery, current=False, attempt=3, provider_status="completed"))
    assert message.title.endswith("(a run that was replaced)")
    assert "which says completed" in message.text
    assert "attempt 3" in message.text


def test_text_of_a_provider_mentions_links_and_formats_nothing() -> None:
    text = harmless(EVIL)
    for sign in ("@everyone", "<", ">", "[", "](", "`", "*", "~", "|", "://", "www.", "\x1b", "\u202e"):
        assert sign not in text
    assert "everyone" in text
    assert harmless("ft_1 acme/model-v2.1") == "ft_1 acme/model-v2.1"


async def test_it_is_harmless_by_default_and_in_a_template(
    make: Make, receiver: Receiver, delivery: Delivery
) -> None:
    odd = about(delivery, message=EVIL, result={"model": "@here", "voices": [{"name": "<@U1>"}]})
    await make().send(odd)
    await make(template="{{ message }} {{ model }} {{ result.voices[0].name }}", title="{{ message }}").send(
        odd
    )
    for message in said(receiver):
        for sign in ("@everyone", "@here", "<", "`", "://"):
            assert sign not in message["title"] + message["message"]


async def test_a_template_says_what_it_is_told_to(make: Make, receiver: Receiver, delivery: Delivery) -> None:
    hook = make(
        title="{{ job }}\n{{ status }}",
        template="{% if model %}{{ model | upper }}{% endif %} {{ finished_at }}{{ result.model }}",
    )
    await hook.send(delivery)
    (message,) = said(receiver)
    assert (message["title"], message["message"]) == ("example succeeded", "EXAMPLE-MODEL example-model")
    preview = await hook.preview(delivery)
    assert (preview.head[0], preview.body) == ("title: example succeeded", b"EXAMPLE-MODEL example-model")


def test_names_of_its_own_are_fine() -> None:
    template = "{% set n = 1 %}{% for v in result.voices %}{{ loop.index }} {{ v.name }} {{ n }}{% endfor %}"
    NotifyOptions.model_validate({"kind": "notify", "url": {"env": "X"}, "template": template})


@pytest.mark.parametrize("template", [" ", "{% if false %}x{% endif %}"])
async def test_an_empty_text_is_the_title(
    make: Make, receiver: Receiver, delivery: Delivery, template: str
) -> None:
    await make(template=template).send(delivery)
    assert said(receiver)[0]["message"] == "[test] example succeeded"


@pytest.mark.parametrize(
    ("template", "why"),
    [
        ("{{ jobb }}", 'unknown field "jobb"'),
        ("{{ job.name }}", 'line 1: unknown field "job.name"'),
        ("\n\n{{ message['x'] }}", 'line 3: unknown field "message.x"'),
        ("{{ job", "line 1: unexpected end of template"),
        ("{% for x in y %}{% endfor %}", 'unknown field "y"'),
        ("{{ job | nofilter }}", 'line 1: there is no filter "nofilter"'),
        ("{{ job is nottest }}", 'line 1: there is no test "nottest"'),
        ("{% include 'x' %}", "line 1: include is not allowed in a template"),
        ("{% import 'x' as y %}", "line 1: import is not allowed in a template"),
        ("{% extends 'x' %}", "line 1: extends is not allowed in a template"),
        ("{% macro x() %}{% endmacro %}", "line 1: macro is not allowed in a template"),
        ("{{ job.upper() }}", "line 1: call is not allowed in a template"),
        ("{{ range(9) }}", "line 1: call is not allowed in a template"),
        ("{{ lipsum }}", 'unknown field "lipsum"'),
        ("{{ self }}", 'unknown field "self"'),
        ("x" * (LARGEST_TEMPLATE + 1), "at most 8 KB"),
        ("{{ " + "(" * 2000 + ")" * 2000 + " }}", ""),
    ],
)
def test_a_template_that_cannot_be_is_refused_when_it_is_read(template: str, why: str) -> None:
    with pytest.raises(ValidationError) as caught:
        NotifyOptions.model_validate({"kind": "notify", "url": {"env": "X"}, "template": template})
    (error,) = caught.value.errors()
    assert why in error["msg"]
    assert error["loc"] == ("template",)


def test_checking_a_template_works_nothing_out() -> None:
    for template in ("{{ '' | center(9999999999999) }}", "{{ 9 ** (9 ** 9) }}", "{{ 'x' * 10 ** 12 }}"):
        NotifyOptions.model_validate({"kind": "notify", "url": {"env": "X"}, "template": template})


@pytest.mark.parametrize(
    "template",
    [
        "{{ '' | center(10 ** 10) }}",
        DEEP,
        "{{ result.nothing }}",
        "{{ 1 // 0 }}",
        "{{ ''.__class__.__mro__ }}",
        "{{ job | attr('__class__') | attr('__mro__') }}",
        "{{ '%s' | format(1, 2) }}",
    ],
)
async def test_one_that_goes_wrong_is_bounded(template: str, delivery: Delivery) -> None:
    with anyio.fail_after(60), pytest.raises(HookError, match="the template cannot be rendered"):
        await render({"text": template}, fields(delivery))


async def test_a_long_text_is_cut(delivery: Delivery) -> None:
    texts = await render({"text": "{% for a in 'x' * 9999 %}0123456789{% endfor %}"}, fields(delivery))
    assert len(texts["text"]) == LONGEST


@pytest.mark.parametrize(
    ("status", "down"), [(400, False), (404, False), (429, True), (500, False), (503, True), (302, False)]
)
async def test_a_failure_says_the_code_and_no_token(
    make: Make,
    receiver: Receiver,
    delivery: Delivery,
    caplog: pytest.LogCaptureFixture,
    status: int,
    down: bool,
) -> None:
    caplog.set_level(logging.DEBUG)
    receiver.answer = reply(status, TOKEN.encode(), location=receiver.url(path="/other"))
    hook = make()
    with pytest.raises(HookError, match=f"error={status}") as caught:
        await hook.send(delivery)
    assert (caught.value.code, caught.value.down) == (status, down)
    assert TOKEN not in f"{caught.value} {caplog.text} {hook.origin} {hook.options!r}"
    assert len(receiver.requests) == 1


async def test_nobody_there_is_trouble(
    make: Make, delivery: Delivery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHAT_URL", f"json://127.0.0.1:1/{TOKEN}")
    with pytest.raises(HookError, match="onnection error") as caught:
        await make().send(delivery)
    assert caught.value.down
    assert TOKEN not in str(caught.value)


async def test_a_service_that_took_it_is_not_told_again(
    make: Make, receiver: Receiver, delivery: Delivery, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with receiving() as second:
        monkeypatch.setenv("OTHER_URL", f"json://127.0.0.1:{second.port}/x")
        hook = make(url=[{"env": "CHAT_URL"}, {"env": "OTHER_URL"}])
        second.answer = reply(500)
        with pytest.raises(HookError):
            await hook.send(delivery)
        second.answer = reply(200)
        assert await hook.send(delivery) == "told JSON"
        assert (len(receiver.requests), len(second.requests)) == (1, 2)


async def test_it_waits_for_no_thread_of_anything_else(
    make: Make, receiver: Receiver, delivery: Delivery
) -> None:
    hook = make()
    with crowded(), anyio.fail_after(20):
        assert await hook.send(delivery) == "told JSON"


@pytest.mark.parametrize("url", ["nonsense", "slack://x", "http://", "json://\x00"])
async def test_an_address_without_a_service_is_said_by_check(
    make: Make, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.delenv("CHAT_URL")
    with pytest.raises(SecretError):
        await make().check()
    (Path(make().root) / "url").write_text(url)
    (Path(make().root) / "url").chmod(0o600)
    with pytest.raises(HookError) as caught:
        await make(url={"file": "url"}).check()
    assert url not in str(caught.value)


async def test_a_missing_address_is_not_sent(
    make: Make, delivery: Delivery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CHAT_URL")
    with pytest.raises(HookError, match=r"^not sent: the environment variable CHAT_URL is not set"):
        await make().send(delivery)


async def test_without_apprise_it_says_how_to_get_it(
    make: Make, delivery: Delivery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notify, "find_spec", lambda name: None)
    assert make().problems() == {"kind": notify.MISSING}
    for call in (make().check(), make().send(delivery)):
        with pytest.raises(HookError, match=r"pip install 'finetune-orchestrator\[notify\]'"):
            await call


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"url": "slack://a/b/c"}, "reference"),
        ({"url": []}, "1 to 10"),
        ({"url": [{"env": "A"}] * 11}, "1 to 10"),
        ({"timeout": "999ms"}, "greater than or equal"),
        ({"timeout": "6m"}, "less than or equal"),
        ({"title": "{{ nope }}"}, "unknown field"),
        ({"surprise": 1}, "Extra inputs"),
    ],
)
def test_a_table_is_checked(table: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        NotifyOptions.model_validate({"kind": "notify", "url": {"env": "X"}, **table})


def test_the_fields_are_those_of_the_event(delivery: Delivery) -> None:
    assert set(fields(delivery)) == FIELDS
    assert set(json.loads(delivery.body)["data"]) | {"type", "timestamp", "model"} == FIELDS


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as each:
        yield each
