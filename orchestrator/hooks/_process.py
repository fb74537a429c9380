"""Running a child process with a time limit, after which it and all it started are ended."""

import os
import signal
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import timedelta
from io import FileIO
from pathlib import Path
from tempfile import TemporaryFile

import anyio
from anyio.abc import Process

GRACE = timedelta(seconds=5)
"""The time between SIGTERM and SIGKILL."""
LINGER = timedelta(seconds=1)
"""How long output is read after the program has ended: its own children may keep the pipe open for ever."""
CHUNK = 65536
"""Bytes read at once."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """A program to run, where, and for how long."""

    argv: Sequence[str]
    stdin: bytes
    cwd: Path
    env: Mapping[str, str]
    timeout: timedelta
    keep: int
    """How many bytes of each output are kept, counted from its end."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """How it ended; `code` is None if we ended it, and negative if a signal did."""

    code: int | None
    output: bytes
    errors: bytes


async def run(task: Task) -> Outcome:
    """Run `task` in its own session; raises OSError if it cannot be started.

    When its time is up, or on cancellation, its whole process group is ended before this returns.
    """
    output, errors = bytearray(), bytearray()
    with ExitStack() as held:
        # Our own pipes: asyncio's transports would stay open while any grandchild holds them.
        out, err = _Pipe(held), _Pipe(held)
        process = await _start(task, out, err)
        try:
            with anyio.move_on_after(task.timeout.total_seconds()):
                async with anyio.create_task_group() as readers:
                    readers.start_soon(_drain, out.reader, output, task.keep)
                    readers.start_soon(_drain, err.reader, errors, task.keep)
                    await process.wait()
                    readers.cancel_scope.deadline = anyio.current_time() + LINGER.total_seconds()
            code = process.returncode
        finally:
            if process.returncode is None:
                await _end(process)
    return Outcome(code=code, output=bytes(output), errors=bytes(errors))


class _Pipe:
    """Both ends of a pipe; reading ours does not block."""

    def __init__(self, held: ExitStack) -> None:
        reader, writer = os.pipe()
        self.reader = held.enter_context(FileIO(reader))
        self.writer = held.enter_context(FileIO(writer, "w"))
        os.set_blocking(reader, False)


async def _start(task: Task, out: _Pipe, err: _Pipe) -> Process:
    # A file rather than a pipe, which would break if the program ended without reading it.
    with TemporaryFile() as stdin, out.writer, err.writer:
        stdin.write(task.stdin)
        stdin.seek(0)
        return await anyio.open_process(
            list(task.argv),
            stdin=stdin.fileno(),
            stdout=out.writer.fileno(),
            stderr=err.writer.fileno(),
            cwd=task.cwd,
            env=task.env,
            start_new_session=True,
        )


async def _drain(reader: FileIO, kept: bytearray, keep: int) -> None:
    while True:
        await anyio.wait_readable(reader)
        chunk = reader.read(CHUNK)
        if chunk == b"":
            return
        kept += chunk or b""
        del kept[:-keep]


async def _end(process: Process) -> None:
    """Stop the whole group, first politely; its unreaped leader keeps the group's id from being reused."""
    with anyio.CancelScope(shield=True):
        _signal(process.pid, signal.SIGTERM)
        with anyio.move_on_after(GRACE.total_seconds()):
            await process.wait()
        _signal(process.pid, signal.SIGKILL)
        await process.wait()


def _signal(group: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)
