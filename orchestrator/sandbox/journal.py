"""The append-only file behind a sandbox: one JSON line per request, on the disk before the answer leaves."""

import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from orchestrator.sandbox.wire import Fields


class Journal:
    """A file held by one process at a time; without a path nothing is kept."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._file: int | None = None
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            _lock(self._file, path)

    @property
    def kept(self) -> bool:
        """Tell whether there is a file."""
        return self._file is not None

    def replay(self) -> Iterator[Fields]:
        """Give every whole line; a torn end, left by a killed writer, is cut off: it was never answered."""
        if self._path is None or self._file is None:
            return
        whole = 0
        with self._path.open("rb") as lines:
            for line in lines:
                if not line.endswith(b"\n"):
                    break
                whole += len(line)
                yield json.loads(line)
        os.ftruncate(self._file, whole)

    def append(self, line: Fields) -> None:
        """Write one line and wait for the disk."""
        if self._file is None:
            return
        data = json.dumps(masked(line), separators=(",", ":")).encode() + b"\n"
        while data:
            data = data[os.write(self._file, data) :]
        os.fsync(self._file)

    def close(self) -> None:
        """Let another process have the file."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


def _lock(file: int, path: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(file)
        raise OSError(f"{path} is in use by another sandbox") from error


def masked(value: Any) -> Any:
    """Copy `value` with every `api_key` in it hidden: Cohere bodies carry one of Weights & Biases."""
    if isinstance(value, dict):
        return {key: "***" if key == "api_key" else masked(inner) for key, inner in value.items()}
    return [masked(inner) for inner in value] if isinstance(value, list | tuple) else value
