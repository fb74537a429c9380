"""Runs the user's own program for each delivery."""

import json
import os
import shlex
import shutil
import signal
from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from orchestrator.config import child
from orchestrator.config.duration import Duration
from orchestrator.config.manifest import HookOptions
from orchestrator.core.delivery import Delivery
from orchestrator.errors import HookError
from orchestrator.hooks._process import GRACE, LINGER, Outcome, Task, run
from orchestrator.hooks._reply import KEPT, clean
from orchestrator.hooks.base import Hook, Preview

LATER = 75
"""The exit code that asks for a later try: EX_TEMPFAIL of sysexits.h."""


def _argv(words: tuple[str, ...]) -> tuple[str, ...]:
    if not words or not words[0].strip():
        raise PydanticCustomError("command", "expected a program and its arguments")
    if any("\0" in word for word in words):
        raise PydanticCustomError("command", "a NUL character cannot be passed to a program")
    return words


class CommandOptions(HookOptions):
    """`[hooks.NAME]` of kind `command`."""

    command: Annotated[
        tuple[str, ...],
        Field(
            strict=False,
            description="The program and its arguments; no shell reads them.",
            json_schema_extra={"minItems": 1},
        ),
        AfterValidator(_argv),
    ]
    timeout: Annotated[Duration, Field(gt=timedelta(0), le=timedelta(hours=1))] = Field(
        default=timedelta(minutes=5), description="How long one run may take, 1h at most."
    )


class Command(Hook):
    """Runs an argument list with the event on standard input."""

    kind: ClassVar[str] = "command"
    Options: ClassVar[type[HookOptions]] = CommandOptions
    options: CommandOptions

    @property
    def origin(self) -> str:
        """Name the command line as it is written."""
        return shlex.join(self.options.command)

    @property
    def deadline(self) -> timedelta:
        """Its time limit and the time to end it afterwards."""
        return self.options.timeout + LINGER + GRACE

    def problems(self) -> Mapping[str, str]:
        """Say that the program is not there or cannot be run."""
        return {} if self._program() else {"command": self._missing()}

    async def check(self) -> None:
        """Raise `HookError` if the program cannot be run."""
        if not self._program():
            raise HookError(self._missing())

    async def preview(self, delivery: Delivery) -> Preview:
        """Show the arguments, the variables we add, and the standard input."""
        ours = {name: value for name, value in environment(delivery).items() if name not in child.INHERITED}
        program = self._program() or self.options.command[0]
        head = (
            shlex.join((program, *self.options.command[1:])),
            f"in {self.root.absolute()}",
            *(f"{name}={value}" for name, value in ours.items()),
        )
        return Preview(head=head, body=delivery.body)

    async def send(self, delivery: Delivery) -> str | None:
        """Run it once; exit code 0 is success, 75 asks for a later try, any other is a failure."""
        program = self._program()
        if program is None:
            raise HookError(self._missing(), down=True)
        task = Task(
            argv=(program, *self.options.command[1:]),
            stdin=delivery.body,
            cwd=self.root,
            env=environment(delivery),
            timeout=self.options.timeout,
            keep=KEPT,
        )
        try:
            outcome = await run(task)
        except OSError as error:
            raise HookError(f"cannot run {program}: {error.strerror}", down=True) from error
        if outcome.code != 0:
            raise _failure(outcome, self.options.timeout)
        return clean(outcome.output) or clean(outcome.errors) or None

    def _program(self) -> str | None:
        name = self.options.command[0]
        if "/" not in name:
            return shutil.which(name, path=os.environ.get("PATH", os.defpath))
        path = self.root.absolute() / name
        return str(path) if path.is_file() and os.access(path, os.X_OK) else None

    def _missing(self) -> str:
        name = self.options.command[0]
        if "/" not in name:
            return f"no program {name} on PATH"
        path = self.root.absolute() / name
        return f"{path} cannot be run: chmod +x it" if path.is_file() else f"no program {path}"


def _failure(outcome: Outcome, timeout: timedelta) -> HookError:
    lines = (outcome.errors.strip() or outcome.output.strip()).splitlines()
    said = f": {last}" if lines and (last := clean(lines[-1])) else ""
    if outcome.code is None:
        message = f"uncertain: not done after {timeout.total_seconds():g} s, killed{said}"
        return HookError(message, down=True)
    if outcome.code == LATER:
        return HookError(f"asked to be tried again later{said}", later=True)
    if outcome.code < 0:
        return HookError(f"killed by {_name(-outcome.code)}{said}")
    return HookError(f"exit {outcome.code}{said}")


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def environment(delivery: Delivery) -> dict[str, str]:
    """Return a command's whole environment; a provider's text is only ever a value in it."""
    data: Mapping[str, Any] = json.loads(delivery.body)["data"]
    told = {
        "ORCHESTRATOR_EVENT": delivery.event,
        "ORCHESTRATOR_JOB": data.get("job"),
        "ORCHESTRATOR_STATUS": data.get("status"),
        "ORCHESTRATOR_REMOTE_ID": data.get("remote_id"),
        "ORCHESTRATOR_MODEL": (data.get("result") or {}).get("model"),
        "ORCHESTRATOR_DELIVERY_ID": delivery.id,
    }
    return child.environment() | {name: _value(value) for name, value in told.items()}


def _value(value: object) -> str:
    text = "" if value is None else str(value)
    return text.replace("\0", "").encode("utf-8", "replace").decode()
