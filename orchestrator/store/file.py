"""The file of an SQLite database: ours alone, where we were told and nowhere else, and still the same."""

import os
import stat
from pathlib import Path
from urllib.parse import quote

from orchestrator.errors import StoreError, StoreRemoved

WAL_FORMAT = 2
"""What the 19th byte of an SQLite file is while it has a write-ahead log."""


def prepare_file(path: Path, *, below: Path | None = None) -> None:
    """Make an SQLite file's folder (0700, with its own .gitignore) and the file (0600).

    Raises `StoreError` where the file is not ours alone, where it cannot be made, or where it, or a folder
    on the way from `below`, is a link.
    """
    refuse_links(path, below=below)
    try:
        if not path.parent.exists():
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            if path.parent.name == ".orchestrator":
                (path.parent / ".gitignore").write_text("*\n")
        if not path.exists():
            # Should another process be quicker, this opens what it made.
            os.close(os.open(path, os.O_CREAT | os.O_NOFOLLOW | os.O_RDWR, 0o600))
    except OSError as error:
        raise StoreError(
            f"cannot make {path}: {error.strerror}",
            hint="make the folder writable, or name another place with ORCHESTRATOR_DATABASE",
        ) from error
    require_ours(path)


def require_ours(path: Path) -> None:
    """Raise `StoreError` where others can read the file, or it belongs to somebody else."""
    found = path.stat()
    mode = stat.S_IMODE(found.st_mode)
    if mode & 0o077:
        raise StoreError(f"{path} can be read by others (mode {mode:o})", hint=f"chmod 600 {path}")
    if found.st_uid != os.geteuid():
        raise StoreError(f"{path} belongs to another user", hint="run as that user")


def refuse_links(path: Path, *, below: Path | None = None) -> None:
    """Raise `StoreError` where `path`, or a folder between `below` and it, is a symbolic link."""
    inside = path.relative_to(below).parents if below and path.is_relative_to(below) else ()
    folders = [below / part for part in inside if below is not None and part != Path()]
    for part in (*reversed(folders), path):
        if part.is_symlink():
            raise StoreError(
                f"{part} is a symbolic link, which is not followed",
                hint="name the place itself with ORCHESTRATOR_DATABASE, or put a real folder there",
            )


def uri(path: Path, *, reading: bool) -> str:
    """Return the URI by which SQLite opens the file, but makes none; `reading` needs no write access."""
    mode = "rw"
    if reading and not (os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)):
        # A write-ahead log needs files of its own, which nobody can make here, and so nobody has one.
        mode = "ro&immutable=1" if _has_wal(path) and not _beside(path, "-wal").exists() else "ro"
    return f"file:{quote(str(path.absolute()))}?mode={mode}"


def _beside(path: Path, end: str) -> Path:
    return path.with_name(path.name + end)


def _has_wal(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(19)[18:] == bytes([WAL_FORMAT])


class Footing:
    """Watches that a path still leads to the file that was opened by it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: tuple[int, int] | None = None

    def require(self) -> None:
        """Raise `StoreRemoved` where the file was removed or replaced since `settle`."""
        if self._known is None:
            return
        found = self._look()
        if found != self._known:
            raise StoreRemoved(
                f"{self._path}: the file was {'replaced' if found else 'removed'} while it was in use; "
                "nothing is sent until this is mended",
                hint="stop the daemon, put the file back or restore a backup, and restart it",
            )

    def settle(self) -> None:
        """Take the file that is there now, which is open, for the one that must stay."""
        self._known = self._known or self._look()

    def _look(self) -> tuple[int, int] | None:
        try:
            found = os.stat(self._path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        return found.st_dev, found.st_ino
