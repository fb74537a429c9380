"""The reply to a paid request, on disk before anything else, for when no database could take it."""

import fcntl
import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from anyio import to_thread

from orchestrator import crashpoint
from orchestrator.store.work import Work

PATIENCE = 0.5
"""How many seconds to wait for another process that is at the file."""
LARGEST = 16 * 1024 * 1024
"""Bytes; settled entries are dropped whenever the journal is opened, so it stays far below."""


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

    def append(self, entry: Entry) -> None:
        """Write one reply and return once it is on the disk."""
        line = json.dumps({"run": entry.run_id, "remote": entry.remote_id, "word": entry.word}) + "\n"
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            # Those that append never wait for each other, and for `forget` not longer than it takes.
            _locked(descriptor, fcntl.LOCK_SH)
            # A line that was cut by a crash before must not swallow this one.
            os.write(descriptor, b"\n" + line.encode())
            crashpoint.reach("C19")
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def read(self) -> Mapping[str, Entry]:
        """Return the entries by run id; a line that was cut off by a crash is passed over."""
        try:
            lines = self.path.read_bytes()[-LARGEST:].splitlines()
        except FileNotFoundError:
            return {}
        entries: dict[str, Entry] = {}
        for line in lines:
            try:
                values = json.loads(line)
                entries[values["run"]] = Entry(
                    run_id=values["run"], remote_id=values["remote"], word=values["word"]
                )
            except (ValueError, KeyError, TypeError):
                continue
        return entries

    def writable(self) -> None:
        """Raise `OSError` where a reply could not be written down; asked before each paid request."""
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            free = os.fstatvfs(descriptor)
            if free.f_bavail * free.f_frsize < 1024 * 1024:
                raise OSError(28, "no space left for the journal", str(self.path))
        finally:
            os.close(descriptor)

    def forget(self, settled: set[str]) -> None:
        """Drop the entries of runs whose id the database has."""
        try:
            descriptor = os.open(self.path, os.O_RDWR | os.O_NOFOLLOW)
        except FileNotFoundError:
            return
        try:
            if _locked(descriptor, fcntl.LOCK_EX) and all(run_id in settled for run_id in self.read()):
                os.ftruncate(descriptor, 0)
        finally:
            os.close(descriptor)


def _locked(descriptor: int, how: int) -> bool:
    """Lock the file, within `PATIENCE`: a process that was stopped may hold it for ever."""
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
    entries = await to_thread.run_sync(journal.read)
    settled = set()
    for run_id in entries:
        run = await work.by_id(run_id)
        if run is None or run.remote_id is not None or run.status.final:
            settled.add(run_id)
    if entries:
        await to_thread.run_sync(journal.forget, settled)
