"""From `-f` to a checked manifest, or to every problem at once."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from orchestrator.config.belongs import explained
from orchestrator.config.decode import look_alikes
from orchestrator.config.jobs import declare_jobs
from orchestrator.config.manifest import Kinds, Manifest, Settings
from orchestrator.config.placeholder import Placeholders
from orchestrator.config.problems import Fault, Faults, Spot, render
from orchestrator.config.settings import PREFIX, settings
from orchestrator.config.source import LARGEST, Source, read, shown
from orchestrator.config.tables import Build, check_default_hooks, declare_accounts, declare_hooks, sort
from orchestrator.errors import Code, ManifestError, Problem, SettingsError


def load(
    files: Sequence[Path],
    kinds: Kinds,
    env: Mapping[str, str],
    *,
    placeholders: Placeholders = Placeholders.REFUSED,
) -> Manifest:
    """Read and check everything; raises `ManifestError` with all problems, `SettingsError` for `env`."""
    sources, problems, cwd = _read(files)
    build = Build(kinds=kinds, whole=not problems, placeholders=placeholders)
    sort(sources, build)
    options, origins = settings(sources, env, files[0].parent, build.faults)
    declare_accounts(build)
    declare_hooks(build)
    strangers = list(check_default_hooks(build, options, origins))
    declare_jobs(build, options.hooks)
    _raise(files, cwd, problems, build.faults, build)
    for source in sources:
        build.doubts += look_alikes(source)
    if strangers:
        raise SettingsError(f"ORCHESTRATOR_HOOKS: there is no [hooks.{strangers[0]}]")
    return Manifest(
        settings=options,
        accounts=build.accounts,
        hooks=build.hooks,
        jobs=build.jobs,
        files=tuple(files),
        root=files[0].parent,
        origins={(entry.section, entry.name): entry.source.path for entry in build.all()},
        digest=_digest(sources),
        warnings=render(explained(build.doubts, build)),
    )


def load_settings(files: Sequence[Path], env: Mapping[str, str]) -> tuple[Settings, Path]:
    """Read `[orchestrator]` alone and the root folder, for commands that need no job to be right."""
    sources, problems, cwd = _read(files)
    faults = Faults()
    options, _ = settings(sources, env, files[0].parent, faults)
    _raise(files, cwd, problems, faults, Build(kinds=Kinds(providers={}, hooks={}), whole=False))
    return options, files[0].parent


def origins_of_settings(files: Sequence[Path], env: Mapping[str, str]) -> Mapping[str, str]:
    """Say where each setting comes from: a line of a file, a variable, or its default."""
    sources, _, _ = _read(files)
    _, origins = settings(sources, env, files[0].parent, Faults())
    places = render(
        Fault(source=source, path=("orchestrator", key), message="", spot=Spot.KEY)
        for key, source in origins.items()
    )
    found = {key: f"{place.file}:{place.line}" for key, place in zip(origins, places, strict=True)}
    variables = {key: f"{PREFIX}{key.upper()}" for key in Settings.model_fields}
    given = {key: name for key, name in variables.items() if name in env}
    return dict.fromkeys(variables, "default") | {"project": "the folder's name"} | found | given


def _read(files: Sequence[Path]) -> tuple[list[Source], list[Problem], Path]:
    if not files:
        raise SettingsError("no job file was given")
    cwd = Path.cwd()
    sources: list[Source] = []
    problems: list[Problem] = []
    room = LARGEST
    for path in files:
        found = read(path, cwd)
        if isinstance(found, Source):
            sources.append(found)
            room -= len(found.data)
        else:
            problems.append(found)
        if room < 0:
            message = f"with it, the job files are larger than {LARGEST // 2**20} MB together"
            problems.append(Problem(file=shown(path, cwd), message=message, code=Code.TOO_LARGE))
            break
    return sources, problems, cwd


def _raise(
    files: Sequence[Path], cwd: Path, problems: Sequence[Problem], faults: Faults, build: Build
) -> None:
    found = {*problems, *render(explained(faults, build))}
    if found:
        order = {shown(path, cwd): index for index, path in enumerate(files)}
        told = sorted(found, key=lambda p: (order[p.file], p.line, p.column, p.path, p.message))
        raise ManifestError(told, more=faults.more)


def _digest(sources: Sequence[Source]) -> str:
    digest = hashlib.sha256()
    for source in sources:
        digest.update(len(source.data).to_bytes(8))
        digest.update(source.data)
    return digest.hexdigest()
