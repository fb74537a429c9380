"""Secrets by reference: named in the job file, resolved late, never stored, never shown."""

import os
import re
import signal
import stat
import subprocess
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Final, NoReturn, Self

import anyio
from anyio.abc import ByteReceiveStream, Process
from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from orchestrator.config.child import environment
from orchestrator.errors import SecretError

COMMAND_SECONDS: Final = 5.0
LARGEST: Final = 4096
"""The most bytes a secret may have."""

_LOOKS_SECRET: Final = re.compile(
    r"\b(?:sk[-_][A-Za-z0-9_-]{12,}|(?:whsec|sk_car|hf|r8|gh[opsu]|github_pat)_[A-Za-z0-9_+/=-]{12,}"
    r"|glpat-[A-Za-z0-9_-]{12,}|xox[abeoprs]-[A-Za-z0-9-]{10,}|AKIA[0-9A-Z]{16}|AIza[A-Za-z0-9_-]{30,}"
    r"|eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}\.|[Bb]earer +[A-Za-z0-9._-]{16,})"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY"
)
"""The forms of well-known keys; finding one outside a credential field causes a warning."""

_HINTS: Final = (
    *("sk-", "sk_", "whsec_", "hf_", "r8_", "gh", "glpat-"),
    *("xox", "AKIA", "AIza", "eyJ", "earer", "-----"),
)

_VARIABLE: Final = r"^[A-Za-z_][A-Za-z0-9_]{0,254}$"
_OPEN_PLACES: Final = ("/run/", "/var/run/", "/etc/")
"""Where Kubernetes and systemd put secrets: world-readable files in protected folders."""


def looks_secret(text: str) -> bool:
    """Say whether `text` contains something that looks like a well-known key."""
    # a substring search is a hundred times faster than the pattern, which matters for a file of 3 MB
    return any(hint in text for hint in _HINTS) and _LOOKS_SECRET.search(text) is not None


_known: Final[dict[str, None]] = {}
_changes = 0


def known() -> Collection[str]:
    """Return every secret of this process, to be hidden in whatever is shown or stored."""
    return _known.keys()


def changes() -> int:
    """Return how many times the `known` secrets have changed."""
    return _changes


def _learn(value: str) -> None:
    global _changes
    if value not in _known:
        _known[value] = None
        _changes += 1


class Secret:
    """A value that prints as `***` and cannot be pickled or compared by accident.

    Once made it stays `known` while the process lives, since a text that repeats it may come much later,
    unless it has expired and is retired.
    """

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value
        _learn(value)

    def reveal(self) -> str:
        """Return the value, for the call that needs it."""
        return self._value

    def retire(self) -> None:
        """Stop hiding it, because it has expired and is worthless."""
        global _changes
        if _known.pop(self._value, 0) is None:
            _changes += 1

    def __repr__(self) -> str:
        return "***"

    __str__ = __repr__

    def __format__(self, spec: str, /) -> str:
        return "***"

    # Equality and hash stay by identity: comparing values could leak them through timing.

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is never pickled")

    def __getstate__(self) -> NoReturn:
        raise TypeError("a secret is never pickled")


class Dummies(dict[str, str]):
    """An environment in which every reference resolves to the same dummy, without a lookup."""

    VALUE: Final = "whsec_c2FuZGJveC1kdW1teS1zZWNyZXQtbm9ib2R5LXVzZXM="
    """In a form that every kind of credential accepts."""


class SecretRef(BaseModel):
    """A reference to a secret: exactly one of a variable, a file and a command."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        frozen=True,
        hide_input_in_errors=True,
        json_schema_extra={"oneOf": [{"required": [place]} for place in ("env", "file", "command")]},
    )

    env: str | None = Field(default=None, pattern=_VARIABLE, description="An environment variable.")
    file: str | None = Field(
        default=None, min_length=1, max_length=4096, description="A file; one trailing newline is removed."
    )
    # not strict: the validator below returns Python values, and a list is not a tuple
    command: tuple[str, ...] | None = Field(
        default=None,
        min_length=1,
        max_length=100,
        strict=False,
        description="A command that prints it, run without a shell.",
    )
    inherit: tuple[Annotated[str, Field(pattern=_VARIABLE)], ...] = Field(
        default=(),
        max_length=100,
        strict=False,
        description="Variables of our environment that the command gets, beside PATH, HOME and the like.",
    )

    @model_validator(mode="before")
    @classmethod
    def _reference(cls, value: object) -> object:
        if not isinstance(value, dict):
            raise PydanticCustomError("secret_literal", "a secret is written as a reference, not as a value")
        if "keyring" in value:
            raise PydanticCustomError("secret_keyring", "keyring is not supported yet")
        if isinstance(value.get("env"), str) and looks_secret(value["env"]):
            raise PydanticCustomError("secret_literal", "env takes the name of a variable, not its value")
        return value

    @model_validator(mode="after")
    def _one(self) -> Self:
        if sum(place is not None for place in (self.env, self.file, self.command)) != 1:
            raise PydanticCustomError("secret_form", "expected exactly one of env, file, command")
        if self.inherit and self.command is None:
            raise PydanticCustomError("secret_form", "inherit belongs to a command")
        return self


async def resolve(ref: SecretRef, root: Path, env: Mapping[str, str] = os.environ) -> Secret:
    """Fetch the secret; relative paths and commands start at `root`. Raises `SecretError`."""
    if isinstance(env, Dummies):
        return Secret(env.VALUE)
    if ref.env is not None:
        value = env.get(ref.env, "")
        if not value:
            raise SecretError(f"the environment variable {ref.env} is not set")
        return Secret(value)
    if ref.file is not None:
        path = root / ref.file
        return _secret(await anyio.to_thread.run_sync(_read_file, path), str(path))
    command = ref.command or ()
    output = await _run(command, root, environment(ref.inherit))
    return _secret(output, f"the command {command[0]}")


def _secret(content: bytes, where: str) -> Secret:
    if len(content) > LARGEST:
        raise SecretError(f"{where}: a secret is at most {LARGEST} bytes")
    try:
        text = content.decode()
    except UnicodeDecodeError:
        # without its cause, whose text quotes the bytes
        raise SecretError(f"{where}: not UTF-8 text") from None
    value = text.removesuffix("\n").removesuffix("\r")
    if not value:
        raise SecretError(f"{where}: it is empty")
    return Secret(value)


def _read_file(path: Path) -> bytes:
    try:
        # O_NONBLOCK: a FIFO in place of the file must not hang the daemon
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        raise SecretError(f"{path}: {getattr(error, 'strerror', None) or 'not a path'}") from error
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise SecretError(f"{path}: not a regular file")
        if status.st_mode & stat.S_IROTH and not os.path.realpath(path).startswith(_OPEN_PLACES):
            raise SecretError(f"{path}: everyone on this machine can read it", hint=f"chmod 600 {path}")
        return os.read(descriptor, LARGEST + 1)
    except OSError as error:
        raise SecretError(f"{path}: {error.strerror}") from error
    finally:
        os.close(descriptor)


async def _run(command: tuple[str, ...], root: Path, env: Mapping[str, str]) -> bytes:
    name = f"the command {command[0]}"
    try:
        process = await anyio.open_process(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=root,
            env=env,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        raise SecretError(f"{name}: {getattr(error, 'strerror', None) or 'cannot be started'}") from error
    try:
        with anyio.fail_after(COMMAND_SECONDS):
            output = await _drain(process.stdout)
            code = await process.wait() if len(output) <= LARGEST else 0
    except TimeoutError as error:
        raise SecretError(f"{name}: no answer within {COMMAND_SECONDS:g} s") from error
    finally:
        await _end(process)
    if code != 0:
        raise SecretError(f"{name}: ended with exit code {code}")
    return output


async def _drain(stream: ByteReceiveStream | None) -> bytes:
    content = b""
    try:
        while stream is not None and len(content) <= LARGEST:
            content += await stream.receive(LARGEST)
    except anyio.EndOfStream:
        pass
    return content


async def _end(process: Process) -> None:
    """Kill the command's whole session, so that no grandchild survives."""
    with anyio.CancelScope(shield=True):
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
        await process.aclose()
