"""The reply to a paid request, on disk before anything else, for when no database could take it."""

import errno
import fcntl
import json
import os
import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from anyio import CapacityLimiter, to_thread

from orchestrator import crashpoint
from orchestrator.store.work import Work

T = TypeVar("T")

PATIENCE = 0.5
"""How many seconds to wait for another process that is at the file: one that was stopped never lets go."""
LEAST_FREE = 1024 * 1024
"""Bytes that must be free on the disk before anything is bought."""
LARGEST = 16 * 1024 * 1024
"""Bytes that are read; settled entries are dropped whenever a daemon starts, so it stays far below."""
THREADS = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """What a provider answered to the create of one run."""

    run_id: str
    remote_id: str
    word: str


class Journal:
    """Replies that the database may not have yet; several processes may append to one file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        # Threads of its own: whatever else hangs in a thread keeps no paid reply from the disk.
        self._threads = CapacityLimiter(THREADS)

    @asynccontextmanager
    async def opened(self) -> AsyncIterator["Page"]:
        """Make sure, before a paid request, that its reply can be written down, and that none is dropped.

        Raises `OSError` where that is not so. Until it is closed no process cuts the file.
        """
        descriptor = await self._run(lambda: _open(self.path))
        try:
            yield Page(descriptor, self._threads)
        finally:
            os.close(descriptor)

    async def read(self) -> Mapping[str, Entry]:
        """Return the entries by run id; a line that was cut off by a crash is passed over."""
        return await self._run(lambda: _entries(self.path))

    async def forget(self, settled: Collection[str]) -> None:
        """Drop all entries where every one of their runs is in `settled` and nothing is being bought."""
        await self._run(lambda: _forget(self.path, settled))

    async def _run(self, work: Callable[[], T]) -> T:
        return await to_thread.run_sync(work, limiter=self._threads)


class Page:
    """The open journal during one paid request."""

    def __init__(self, descriptor: int, threads: CapacityLimiter) -> None:
        self._descriptor = descriptor
        self._threads = threads

    async def append(self, entry: Entry) -> None:
        """Write one reply and return once it is on the disk."""
        await to_thread.run_sync(_append, self._descriptor, entry, limiter=self._threads)


def _open(path: Path) -> int:
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        free = os.fstatvfs(descriptor)
        if free.f_bavail * free.f_frsize < LEAST_FREE:
            raise OSError(errno.ENOSPC, "no space left for the journal", str(path))
        # Shared, so that those who buy never wait for each other; it keeps `forget` away.
        if not _locked(descriptor, fcntl.LOCK_SH):
            raise OSError(errno.EWOULDBLOCK, "another process holds the journal", str(path))
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _append(descriptor: int, entry: Entry) -> None:
    line = json.dumps({"run": entry.run_id, "remote": entry.remote_id, "word": entry.word})
    # A line that was cut by a crash before must not swallow this one.
    written = f"\n{line}\n".encode()
    if os.write(descriptor, written) != len(written):
        raise OSError(errno.ENOSPC, "no space left for the journal")
    crashpoint.reach("answer-written")
    os.fsync(descriptor)


def _entries(path: Path) -> Mapping[str, Entry]:
    try:
        lines = path.read_bytes()[-LARGEST:].splitlines()
    except FileNotFoundError:
        return {}
    entries: dict[str, Entry] = {}
    for line in lines:
        try:
            values = json.loads(line)
            entry = Entry(run_id=values["run"], remote_id=values["remote"], word=values["word"])
        except (ValueError, KeyError, TypeError):
            continue
        entries[entry.run_id] = entry
    return entries


def _forget(path: Path, settled: Collection[str]) -> None:
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
    except FileNotFoundError:
        return
    try:
        if _locked(descriptor, fcntl.LOCK_EX) and all(run_id in settled for run_id in _entries(path)):
            os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


def _locked(descriptor: int, how: int) -> bool:
    """Lock the file within `PATIENCE`, and say whether that came about."""
    ends = time.monotonic() + PATIENCE
    while True:
        try:
            fcntl.flock(descriptor, how | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > ends:
                return False
            time.sleep(0.01)
        else:
            return True


async def forget_settled(journal: Journal, work: Work) -> None:
    """Forget the replies of runs that know their id, or are over."""
    settled = set()
    for run_id in await journal.read():
        run = await work.by_id(run_id)
        if run is None or run.remote_id is not None or run.status.final:
            settled.add(run_id)
    if settled:
        await journal.forget(settled)
