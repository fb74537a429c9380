"""The reply to a paid request, on disk before anything else, for when no database could take it."""

import fcntl
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from orchestrator import crashpoint

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
            fcntl.flock(descriptor, fcntl.LOCK_EX)
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
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if all(run_id in settled for run_id in self.read()):
                os.ftruncate(descriptor, 0)
        finally:
            os.close(descriptor)
