"""What a `[hooks.NAME]` table may hold, and secrets that are read strictly."""

import base64
from pathlib import Path

import pytest
from pydantic import ValidationError
from standardwebhooks import Webhook as Verifier

from orchestrator.errors import HookError, SecretError
from orchestrator.hooks.command import CommandOptions
from orchestrator.hooks.webhook import Webhook, WebhookOptions, key, make_secret

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
GOOD = {"kind": "webhook", "url": "https://example.com/x", "secret": {"env": "S"}}


@pytest.mark.parametrize(
    ("table", "place", "words"),
    [
        ({"url": "http://example.com"}, "url", "plain http"),
        ({"url": "http://example.com", "allow_private": ["other.com"]}, "url", "plain http"),
        ({"url": "https://user:hunter2@example.com"}, "url", "user name or password"),
        ({"url": "https://user@example.com"}, "url", "user name or password"),
        ({"url": "ftp://example.com"}, "url", "neither https"),
        ({"url": "example.com/x"}, "url", "neither https"),
        ({"url": ""}, "url", "neither https"),
        ({"url": "https://"}, "url", "no host"),
        ({"url": "https://exa mple.com"}, "url", "no host"),
        ({"url": "https://[::1"}, "url", "not a URL"),
        ({"url": "https://a\x00b/"}, "url", "not a URL"),
        ({"url": "https://example.com:0/"}, "url", "port"),
        ({"url": "https://example.com:99999/"}, "url", "port"),
        ({"url": 3}, "url", "string"),
        ({"allow_private": "yes"}, "allow_private", "true, false or a list of hosts"),
        ({"allow_private": [1]}, "allow_private", "true, false or a list of hosts"),
        ({"secret": "whsec_aHVudGVyMg=="}, "secret", "reference"),
        ({"secret": []}, "secret", "expected 1 to 5"),
        ({"secret": [{"env": "S"}] * 6}, "secret", "expected 1 to 5"),
        ({"secret": ["whsec_aHVudGVyMg=="]}, "secret", "reference"),
        ({"timeout": "61s"}, "timeout", "less than or equal"),
        ({"timeout": "0s"}, "timeout", "greater than"),
        ({"retries": 3}, "retries", "Extra"),
    ],
)
def test_a_webhook_table_with_a_fault_is_refused(table: dict[str, object], place: str, words: str) -> None:
    with pytest.raises(ValidationError) as caught:
        WebhookOptions.model_validate(GOOD | table)
    (fault,) = caught.value.errors()
    assert fault["loc"][0] == place
    assert words in fault["msg"]
    assert "hunter2" not in str(caught.value)
    assert "aHVudGVyMg" not in str(caught.value)


@pytest.mark.parametrize(
    ("table", "private"),
    [
        ({}, False),
        ({"allow_private": True, "url": "http://localhost:9000/"}, True),
        ({"allow_private": ["Hooks.Lan."], "url": "http://hooks.lan/"}, True),
        ({"allow_private": ["::1"], "url": "http://[::1]:9000/"}, True),
        ({"allow_private": ["[::1]"], "url": "http://[::1]:9000/"}, True),
        ({"allow_private": ["other"], "url": "https://hooks.lan/"}, False),
        ({"url": "https://bücher.example/"}, False),
        ({"secret": [{"env": "A"}, {"file": "b"}]}, False),
        ({"timeout": "60s"}, False),
    ],
)
def test_a_webhook_table_that_is_fine(table: dict[str, object], private: bool) -> None:
    assert WebhookOptions.model_validate(GOOD | table).private is private


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://Example.com/a?b", "https://example.com:443"),
        ("https://example.com:8443", "https://example.com:8443"),
        ("http://[::1]/x", "http://[::1]:80"),
    ],
)
async def test_the_origin_is_scheme_host_and_port(url: str, origin: str) -> None:
    options = WebhookOptions.model_validate(GOOD | {"url": url, "allow_private": True})
    assert Webhook(options, Path("/")).origin == origin


@pytest.mark.parametrize(
    "text",
    [
        "",
        "whsec_",
        "hunter2",
        SECRET.removeprefix("whsec_"),
        "whsec_aHVudGVyMg==",
        "whsec_" + base64.b64encode(b"x" * 23).decode(),
        "whsec_" + base64.b64encode(b"x" * 65).decode(),
        "whsec_" + base64.urlsafe_b64encode(b"\xff" * 32).decode(),
        SECRET + "\n",
        " " + SECRET,
        "whsec_" + "é" * 40,
        "whsec_" + "A" * 41,
    ],
)
def test_a_malformed_secret_is_refused_and_not_shown(text: str) -> None:
    with pytest.raises(
        HookError, match="the webhook secret is not whsec_ and the base64 of 24 to 64"
    ) as caught:
        key(text)
    assert caught.value.hint == "make one: orchestrator hooks secret"
    assert len(text) < 8 or text[6:].strip() not in caught.value.message


@pytest.mark.parametrize("size", [24, 31, 32, 64])
def test_a_good_secret_is_read_as_the_reference_reads_it(size: int) -> None:
    text = "whsec_" + base64.b64encode(bytes(range(size))).decode()
    for form in (text, text.rstrip("=")):
        assert key(form) == bytes(range(size))
        assert Verifier(form)._whsecret == key(form)


def test_secrets_are_made_new_each_time() -> None:
    assert make_secret() != make_secret()
    assert len(key(make_secret())) == 32


async def test_check_reads_the_secrets(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("S", raising=False)
    with pytest.raises(SecretError, match="S"):
        await Webhook(WebhookOptions.model_validate(GOOD), tmp_path).check()
    monkeypatch.setenv("S", "hunter2hunter2")
    with pytest.raises(HookError) as caught:
        await Webhook(WebhookOptions.model_validate(GOOD), tmp_path).check()
    assert "hunter2" not in str(caught.value)
    monkeypatch.setenv("S", make_secret())
    await Webhook(WebhookOptions.model_validate(GOOD), tmp_path).check()


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"command": []}, "expected a program"),
        ({"command": ["  "]}, "expected a program"),
        ({"command": ["a\0b"]}, "NUL"),
        ({"command": "./promote.sh"}, "tuple"),
        ({"command": ["a"], "timeout": "61m"}, "less than or equal"),
        ({"command": ["a"], "timeout": "0s"}, "greater than"),
        ({"command": ["a"], "shell": True}, "Extra"),
        ({}, "required"),
    ],
)
def test_a_command_table_with_a_fault_is_refused(table: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        CommandOptions.model_validate({"kind": "command"} | table)
