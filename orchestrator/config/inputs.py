"""Local files that go to a provider: checked, measured and hashed from one descriptor each."""

import hashlib
import os
import stat
from pathlib import Path
from typing import Final

from orchestrator.core.job import Input

LARGEST: Final = 512 * 2**20

Seen = tuple[int, int, int, int, int]
_hashes: dict[str, tuple[Seen, str]] = {}
"""What was hashed before in this process: a daemon that reads its files again must not hash 500 MB again."""


def take(folder: Path, name: str) -> Input | str:
    """Read the file `name` of `folder`; what is wrong with it comes back as a text."""
    path = folder / name
    try:
        # O_NONBLOCK: opening a FIFO must not hang; O_NOFOLLOW: what is sent is what lies there
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        if path.is_symlink():
            return f"{name} is a link; a regular file is needed"
        return f"{name}: {getattr(error, 'strerror', None) or 'not a path'}"
    try:
        return _measure(descriptor, path)
    finally:
        os.close(descriptor)


def _measure(descriptor: int, path: Path) -> Input | str:
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        return f"{path.name} is not a regular file"
    if status.st_size > LARGEST:
        return f"{path.name} is larger than {LARGEST // 2**20} MB"
    seen, digest = _hashes.get(str(path), (None, ""))
    if seen != _seen(status):
        with open(descriptor, "rb", closefd=False) as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if _seen(os.fstat(descriptor)) != _seen(status):
            return f"{path.name} changed while it was read"
        _hashes[str(path)] = (_seen(status), digest)
    return Input(path=str(path), sha256=digest, size=status.st_size)


def _seen(status: os.stat_result) -> Seen:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
