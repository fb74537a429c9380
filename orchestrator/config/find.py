"""Which files make a manifest; light, since a shell asks at every tab."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from orchestrator.errors import SettingsError

MOST_FILES: Final = 1000
NAME: Final = "jobs.toml"
VARIABLE: Final = "ORCHESTRATOR_FILE"


def find(files: Sequence[str], cwd: Path, env: Mapping[str, str]) -> tuple[Path, ...]:
    """Say which files make the manifest: `-f`, else ORCHESTRATOR_FILE, else jobs.toml here or above."""
    named = list(files) or [part for part in env.get(VARIABLE, "").split(os.pathsep) if part]
    if not named:
        return (_upward(cwd),)
    found = [path for name in named for path in _expand(cwd / name)]
    if len(found) > MOST_FILES:
        raise SettingsError(f"more than {MOST_FILES} job files")
    return tuple(dict.fromkeys(found))


def _upward(cwd: Path) -> Path:
    here = Path(os.path.abspath(cwd))
    for folder in _to_root(here):
        if os.path.isfile(folder / NAME):
            return folder / NAME
    raise SettingsError(
        f"no {NAME} in this folder or above it", hint="`orchestrator init` writes one; -f names another"
    )


def _to_root(here: Path) -> Sequence[Path]:
    """Return the folders from `here` up to the root of its repository.

    Outside a repository that is `here` alone: a file further up may be anybody's, and names commands.
    """
    folders = (here, *here.parents)
    root = next((index for index, folder in enumerate(folders) if os.path.exists(folder / ".git")), 0)
    return folders[: root + 1]


def _expand(path: Path) -> Sequence[Path]:
    # abspath rather than resolve: relative paths start at the folder that the user named
    path = Path(os.path.abspath(path))
    if not os.path.isdir(path):
        if not os.path.exists(path):
            raise SettingsError(f"{path}: no such file", hint="`orchestrator init` writes one")
        return [path]
    found = sorted(file for file in path.glob("*.toml") if not file.name.startswith(".") and file.is_file())
    if not found:
        raise SettingsError(f"{path}: no .toml file in this folder")
    return found
