"""`[orchestrator]`: from the files, then from the environment."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from orchestrator.config.address import SQLITE, allowed, fault
from orchestrator.config.decode import Here, decode
from orchestrator.config.manifest import Settings
from orchestrator.config.problems import Fault, Faults, Spot, render
from orchestrator.config.secret import Secret
from orchestrator.config.source import Source, read_all
from orchestrator.config.translate import summary
from orchestrator.config.url import passwords
from orchestrator.errors import Code, SettingsError

PREFIX: Final = "ORCHESTRATOR_"


def settings(
    sources: Sequence[Source], env: Mapping[str, str], root: Path, faults: list[Fault]
) -> tuple[Settings, Mapping[str, Source]]:
    """Return the settings, and the file of each key that a file sets and the environment does not."""
    values: dict[str, object] = {"project": project_of(root)}
    origins: dict[str, Source] = {}
    for source in sources:
        table = source.document.get("orchestrator", {})
        if not isinstance(table, dict):
            faults.append(Fault(source=source, path=("orchestrator",), message="expected a table"))
            continue
        here = Here(source=source, path=("orchestrator",), faults=faults)
        for key, value in table.items():
            if key in origins:
                faults.append(_twice(source, key, origins[key]))
                continue
            origins[key] = source
            # each key for itself, so that a fault in one does not hide those of the next
            known = decode(Settings, {key: value}, here)
            if known is not None:
                values[key] = getattr(known, key)
    if "database" in origins:
        faults += _address_faults(origins["database"], str(values.get("database", "")))
    for key, value in _from(env).items():
        values[key] = value
        origins.pop(key, None)
    # Known from now on, so that no text shows them.
    for value in (*passwords(str(values.get("database", ""))), values.get("heartbeat")):
        if isinstance(value, str):
            Secret(value)
    values["database"] = absolute(str(values.get("database", Settings().database)), root)
    made = Settings.model_validate(values)
    named = origins.get("database")
    alone = named is not None and not allowed(made.database, env)
    return made.placed(root, named.path if named and alone else None), origins


def _twice(source: Source, key: str, first: Source) -> Fault:
    path = ("orchestrator", key)
    return Fault(
        source=source,
        path=path,
        message="already set at",
        code=Code.DUPLICATE,
        spot=Spot.KEY,
        first=(first, path),
    )


def _address_faults(source: Source, url: str) -> Iterator[Fault]:
    path = ("orchestrator", "database")
    if any(True for _ in passwords(url)):
        yield Fault(
            source=source,
            path=path,
            message="an address in a job file must not contain a password",
            hint="set ORCHESTRATOR_DATABASE instead",
            code=Code.LITERAL_SECRET,
        )
    elif wrong := fault(url):
        yield Fault(source=source, path=path, message=wrong, hint="set ORCHESTRATOR_DATABASE as a whole")


def project_of(root: Path) -> str:
    """Make a project's name of its folder's."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", root.name).strip("-._")[:63] or "jobs"


def absolute(url: str, root: Path) -> str:
    """Make an SQLite address start at `root`, so that it means the same wherever a command is typed."""
    path = url.removeprefix(SQLITE)
    # Without the dots: what stands before `..` may be a link.
    return url if path == url else f"{SQLITE}{os.path.normpath(root / path)}"


def _from(env: Mapping[str, str]) -> Mapping[str, object]:
    values: dict[str, object] = {}
    for key in Settings.model_fields:
        name = PREFIX + key.upper()
        if name in env:
            values[key] = _value(name, key, env[name])
    return values


def _value(name: str, key: str, text: str) -> object:
    value: object = text
    if key == "hooks":
        value = tuple(part.strip() for part in text.split(",") if part.strip())
    elif key == "max_new_runs" and text.isascii() and text.isdecimal() and len(text) < 10:
        value = int(text)
    table = {key: value}
    try:
        return getattr(Settings.model_validate(table), key)
    except ValidationError as error:
        raise SettingsError(f"{name}: {summary(error, table)}") from None


def rehearsed(settings: Settings, root: Path) -> Settings:
    """Give the sandbox a database of its own, so that the real one is neither read nor written."""
    # A sandbox is there to try things in: nobody wants to wait for half a minute.
    quick = min(settings.poll_interval, timedelta(seconds=1))
    database = f"sqlite:///{root}/.orchestrator/sandbox.db"
    return settings.model_copy(update={"database": database, "heartbeat": None, "poll_interval": quick})


def load_settings(files: Sequence[Path], env: Mapping[str, str]) -> tuple[Settings, Path]:
    """Read `[orchestrator]` alone and the root folder, for commands that need no job to be right."""
    sources, problems, cwd = read_all(files)
    faults = Faults()
    options, _ = settings(sources, env, files[0].parent, faults)
    if problems or faults:
        from orchestrator.config.load import refuse  # the whole grammar, which tells what was meant

        refuse(files, cwd, problems, faults)
    return options, files[0].parent


def origins_of_settings(files: Sequence[Path], env: Mapping[str, str]) -> Mapping[str, str]:
    """Say where each setting comes from: a line of a file, a variable, or its default."""
    sources, _, _ = read_all(files)
    _, origins = settings(sources, env, files[0].parent, Faults())
    places = render(
        Fault(source=source, path=("orchestrator", key), message="", spot=Spot.KEY)
        for key, source in origins.items()
    )
    found = {key: f"{place.file}:{place.line}" for key, place in zip(origins, places, strict=True)}
    variables = {key: f"{PREFIX}{key.upper()}" for key in Settings.model_fields}
    given = {key: name for key, name in variables.items() if name in env}
    return dict.fromkeys(variables, "default") | {"project": "the folder's name"} | found | given
