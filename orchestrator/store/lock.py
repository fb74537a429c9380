"""One daemon an SQLite file: an advisory lock that dies with its holder and names it to the next."""

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from orchestrator.errors import StoreError


@contextmanager
def alone(database: Path) -> Iterator[None]:
    """Hold the daemon's lock on `database`; raises `StoreError` that names who holds it."""
    path = database.with_name(f"{database.name}.daemon")
    with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600), "r+") as lock:
        while not _locked(lock, fcntl.LOCK_EX):
            if not _locked(lock, fcntl.LOCK_SH):
                raise StoreError(
                    f"a daemon is already running on {database}: {lock.read().strip() or 'unknown'}",
                    hint="stop it first; on PostgreSQL several may run",
                )
            # Somebody only asks whether a daemon is there, for an instant.
            fcntl.flock(lock, fcntl.LOCK_UN)
        lock.truncate(0)
        lock.write(f"pid {os.getpid()} on {socket.gethostname()}")
        lock.flush()
        yield


def held(database: Path) -> bool:
    """Say whether a daemon holds the lock on `database` now."""
    path = database.with_name(f"{database.name}.daemon")
    try:
        with path.open("r") as lock:
            return not _locked(lock, fcntl.LOCK_SH)
    except FileNotFoundError:
        return False


def _locked(lock: TextIO, how: int) -> bool:
    try:
        fcntl.flock(lock, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
