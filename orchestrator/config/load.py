"""From `-f` to a checked manifest, or to every problem at once."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from orchestrator.config.belongs import explained
from orchestrator.config.jobs import declare_jobs
from orchestrator.config.manifest import Kinds, Manifest, Settings
from orchestrator.config.plain import look_alikes
from orchestrator.config.problems import Fault, render
from orchestrator.config.settings import settings
from orchestrator.config.source import Source, read, shown
from orchestrator.config.tables import Build, check_default_hooks, declare_accounts, declare_hooks, sort
from orchestrator.errors import MOST_PROBLEMS, ManifestError, Problem, SettingsError


def load(files: Sequence[Path], kinds: Kinds, env: Mapping[str, str]) -> Manifest:
    """Read and check everything; raises `ManifestError` with all problems, `SettingsError` for `env`."""
    sources, problems, cwd = _read(files)
    build = Build(kinds=kinds, whole=not problems)
    sort(sources, build)
    options, origins = settings(sources, env, files[0].parent, build.faults)
    declare_accounts(build)
    declare_hooks(build)
    strangers = list(check_default_hooks(build, options, origins))
    declare_jobs(build, options.hooks)
    _raise(files, cwd, problems, build.faults, build)
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
        warnings=render(fault for source in sources for fault in look_alikes(source)),
    )


def load_settings(files: Sequence[Path], env: Mapping[str, str]) -> tuple[Settings, Path]:
    """Read `[orchestrator]` alone and the root folder, for commands that need no job to be right."""
    sources, problems, cwd = _read(files)
    faults: list[Fault] = []
    options, _ = settings(sources, env, files[0].parent, faults)
    _raise(files, cwd, problems, faults, Build(kinds=Kinds(providers={}, hooks={}), whole=False))
    return options, files[0].parent


def _read(files: Sequence[Path]) -> tuple[list[Source], list[Problem], Path]:
    if not files:
        raise SettingsError("no job file was given")
    cwd = Path.cwd()
    results = [read(path, cwd) for path in files]
    sources = [result for result in results if isinstance(result, Source)]
    return sources, [result for result in results if isinstance(result, Problem)], cwd


def _raise(
    files: Sequence[Path], cwd: Path, problems: Sequence[Problem], faults: Sequence[Fault], build: Build
) -> None:
    found = {*problems, *render(explained(faults[:MOST_PROBLEMS], build))}
    if found:
        order = {shown(path, cwd): index for index, path in enumerate(files)}
        told = sorted(found, key=lambda p: (order[p.file], p.line, p.column, p.path, p.message))
        raise ManifestError(told, more=len(faults[MOST_PROBLEMS:]))


def _digest(sources: Sequence[Source]) -> str:
    digest = hashlib.sha256()
    for source in sources:
        digest.update(len(source.data).to_bytes(8))
        digest.update(source.data)
    return digest.hexdigest()
