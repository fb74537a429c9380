"""Secrets: fetched late from where the reference says, and shown nowhere."""

import copy
import json
import logging
import os
import pickle
import select
import sys
import time
from pathlib import Path

import pytest
from pydantic import ValidationError

from orchestrator.config import secret as module
from orchestrator.config.secret import LARGEST, Dummies, Secret, SecretRef, looks_secret, resolve
from orchestrator.errors import SecretError

CANARY = "canary-7f3a9b"


async def refused(ref: SecretRef, root: Path) -> str:
    with pytest.raises(SecretError) as caught:
        await resolve(ref, root)
    error: BaseException | None = caught.value
    while error is not None:
        assert CANARY not in f"{error!r} {error}"
        error = error.__cause__
    return caught.value.message


def test_a_secret_shows_as_stars() -> None:
    secret = Secret(CANARY)
    shown = [str(secret), repr(secret), f"{secret}", f"{secret:>20}", f"{secret!r:5}", format(secret, "x")]
    shown += [repr([secret]), repr({"key": secret}), "{} {!r}".format(*[secret, secret])]
    shown += [logging.LogRecord("x", 20, "x", 1, "%s %r", (secret, secret), None).getMessage()]
    assert all(CANARY not in text and "***" in text for text in shown)
    assert secret.reveal() == CANARY


def test_a_secret_goes_nowhere() -> None:
    secret = Secret(CANARY)
    for out in (pickle.dumps, copy.copy, copy.deepcopy, json.dumps, vars, Secret.__getstate__):
        with pytest.raises(TypeError) as caught:
            out(secret)
        assert CANARY not in str(caught.value)


def test_secrets_are_equal_by_identity_alone() -> None:
    assert Secret(CANARY) != Secret(CANARY)
    assert hash(Secret(CANARY)) != hash(CANARY)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({}, "exactly one"),
        ({"env": "A", "file": "b"}, "exactly one"),
        ({"keyring": "service/user"}, "not supported yet"),
        ({"env": ""}, "pattern"),
        ({"env": "A B"}, "pattern"),
        ({"env": 1}, "valid string"),
        ({"file": ""}, "at least 1"),
        ({"command": "pass show x"}, "tuple"),
        ({"command": []}, "at least 1"),
        ({"vault": "x"}, "not permitted"),
        ({"env": "sk_car_abcdefghijklmnop"}, "not its value"),
        ("literal", "reference"),
        (None, "reference"),
        (["literal"], "reference"),
    ],
)
def test_forms_that_are_refused(value: object, said: str) -> None:
    with pytest.raises(ValidationError, match=said) as caught:
        SecretRef.model_validate_json(json.dumps(value))
    assert "literal" not in str(caught.value).replace("secret_literal", "")


def test_a_reference_may_come_from_python() -> None:
    ref = SecretRef(command=("a", "b"))
    assert SecretRef.model_validate(ref) == ref == SecretRef.model_validate_json('{"command": ["a", "b"]}')
    assert hash(ref) == hash(SecretRef(command=("a", "b")))


async def test_a_variable(tmp_path: Path) -> None:
    ref = SecretRef(env="ACME_KEY")
    assert (await resolve(ref, tmp_path, {"ACME_KEY": CANARY})).reveal() == CANARY
    for env in ({}, {"ACME_KEY": ""}):
        with pytest.raises(SecretError, match="ACME_KEY is not set"):
            await resolve(ref, tmp_path, env)


async def test_the_environment_is_the_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACME_KEY", CANARY)
    assert (await resolve(SecretRef(env="ACME_KEY"), tmp_path)).reveal() == CANARY


def keep(path: Path, content: bytes, mode: int = 0o600) -> None:
    path.write_bytes(content)
    path.chmod(mode)


@pytest.mark.parametrize(
    ("content", "value"),
    [(b"v", "v"), (b"v\n", "v"), (b"v\r\n", "v"), (b"v\n\n", "v\n"), (b" v ", " v "), ("ü".encode(), "ü")],
)
async def test_a_file_loses_one_newline(tmp_path: Path, content: bytes, value: str) -> None:
    keep(tmp_path / "key", content)
    assert (await resolve(SecretRef(file="key"), tmp_path)).reveal() == value


async def test_a_file_may_be_a_link(tmp_path: Path) -> None:
    keep(tmp_path / "real", b"v\n")
    (tmp_path / "link").symlink_to("real")
    assert (await resolve(SecretRef(file="link"), tmp_path)).reveal() == "v"


async def test_files_that_are_refused(tmp_path: Path) -> None:
    keep(tmp_path / "open", CANARY.encode(), 0o644)
    keep(tmp_path / "empty", b"\n")
    keep(tmp_path / "long", b"x" * (LARGEST + 1))
    keep(tmp_path / "bytes", CANARY.encode() + b"\xff")
    os.mkfifo(tmp_path / "fifo", 0o600)
    said = {
        name: await refused(SecretRef(file=name), tmp_path)
        for name in ("open", "empty", "long", "bytes", "fifo", ".", "none", "a\0b", "/dev/zero")
    }
    assert "everyone on this machine can read it" in said["open"]
    assert said["empty"].endswith("empty")
    assert "at most 4096 bytes" in said["long"]
    assert "not UTF-8" in said["bytes"]
    assert {"not a regular file"} == {said[name].split(": ")[1] for name in ("fifo", ".", "/dev/zero")}
    assert "No such file" in said["none"]
    assert "not a path" in said["a\0b"]


async def test_a_file_of_4096_bytes_is_fine(tmp_path: Path) -> None:
    keep(tmp_path / "key", b"x" * LARGEST)
    assert len((await resolve(SecretRef(file="key"), tmp_path)).reveal()) == LARGEST


async def test_mounted_secrets_may_be_readable(tmp_path: Path) -> None:
    found = next(path for path in map(Path, ("/etc/hostname", "/etc/passwd")) if path.is_file())
    if found.stat().st_size > LARGEST:
        pytest.skip("no small readable file in /etc")
    assert (await resolve(SecretRef(file=str(found)), tmp_path)).reveal()
    (tmp_path / "etc").symlink_to("/etc")
    assert (await resolve(SecretRef(file=f"etc/{found.name}"), tmp_path)).reveal()


def python(code: str) -> SecretRef:
    return SecretRef(command=(sys.executable, "-c", code))


async def test_a_command(tmp_path: Path) -> None:
    ref = python("import os, sys; print(os.getcwd(), os.getsid(0) == os.getpid(), repr(sys.stdin.read()))")
    assert (await resolve(ref, tmp_path)).reveal() == f"{tmp_path} True ''"


async def test_a_command_gets_little_of_our_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("CARTESIA_API_KEY", "ORCHESTRATOR_TOKEN", "VAULT_TOKEN", "VAULT_ADDR"):
        monkeypatch.setenv(name, f"value-of-{name}")
    monkeypatch.setenv("LANG", "C.UTF-8")
    code = (sys.executable, "-IS", "-c", "import os; print(*sorted(os.environ))")
    usual = {"PATH", "HOME", "USER", "LOGNAME", "TMPDIR", "TZ", "LANG", "LANGUAGE"}

    async def got(ref: SecretRef) -> set[str]:
        names = (await resolve(ref, tmp_path)).reveal().split()
        return {name for name in names if not name.startswith("LC_")}

    few = await got(SecretRef(command=code))
    assert {"PATH", "LANG"} <= few <= usual
    assert await got(SecretRef(command=code, inherit=("VAULT_TOKEN", "NOT_SET"))) == few | {"VAULT_TOKEN"}
    with pytest.raises(ValidationError, match="inherit belongs to a command"):
        SecretRef(env="ACME_KEY", inherit=("PATH",))


async def test_where_there_are_dummies_nothing_is_looked_up(tmp_path: Path) -> None:
    for ref in (SecretRef(env="ACME_KEY"), SecretRef(file="key"), SecretRef(command=("touch", "ran"))):
        assert (await resolve(ref, tmp_path, Dummies())).reveal() == Dummies.VALUE
    assert list(tmp_path.iterdir()) == []


async def test_no_shell_reads_a_command(tmp_path: Path) -> None:
    ref = SecretRef(command=("echo", "$HOME; exit 3"))
    assert (await resolve(ref, tmp_path)).reveal() == "$HOME; exit 3"


async def test_commands_that_are_refused(tmp_path: Path) -> None:
    failing = f"import sys; print('{CANARY}'); print('{CANARY}', file=sys.stderr); sys.exit(3)"
    assert (await refused(python(failing), tmp_path)).endswith("ended with exit code 3")
    assert "empty" in await refused(python("pass"), tmp_path)
    assert "at most 4096" in await refused(python("print('x' * 10_000_000)"), tmp_path)
    assert "No such file" in await refused(SecretRef(command=("./none",)), tmp_path)
    assert "cannot be started" in await refused(SecretRef(command=("a\0b",)), tmp_path)
    assert "-9" in await refused(python("import os; os.kill(os.getpid(), 9)"), tmp_path)


async def test_a_slow_command_dies_with_all_its_children(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "COMMAND_SECONDS", 1.0)
    # the parent ends at once; its child holds the pipe
    code = (
        "import os, signal, sys\n"
        "if os.fork(): sys.exit(0)\n"
        "open('pid.part', 'w').write(str(os.getpid())); os.rename('pid.part', 'pid')\n"
        "signal.pause()"
    )
    began = time.monotonic()
    assert "no answer within 1 s" in await refused(python(code), tmp_path)
    assert time.monotonic() - began < 4
    assert ends(int((tmp_path / "pid").read_text()))


def ends(pid: int) -> bool:
    """Wait until a process is no more, for 5 seconds at most."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([descriptor], [], [], 5)[0])
    finally:
        os.close(descriptor)


@pytest.mark.parametrize(
    "text",
    [
        "sk-proj-abcdefghijklmnop",
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "hf_abcdefghijklmnopqrstuvwxyz",
        "ghp_abcdefghijklmnopqrstuvwxyz0123456789",
        "AKIAIOSFODNN7EXAMPLE",
        "xoxb-123456789012-abcdef",
        "a Bearer abcdefghijklmnopqrst",
        "-----BEGIN RSA PRIVATE KEY-----",
        "glpat-abcdefghijklmnopqrst",
    ],
)
def test_what_looks_like_a_secret(text: str) -> None:
    assert looks_secret(text)


@pytest.mark.parametrize(
    "text", ["task-1", "sk-1", "main/train.parquet", "dataset_narrator_en", "sonic-3-2026-01-12", "eyJ"]
)
def test_what_does_not(text: str) -> None:
    assert not looks_secret(text)
