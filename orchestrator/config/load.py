"""From `-f` to a checked manifest, or to every problem at once."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from orchestrator.config.belongs import explained
from orchestrator.config.decode import look_alikes
from orchestrator.config.jobs import declare_jobs
from orchestrator.config.manifest import Kinds, Manifest
from orchestrator.config.placeholder import Placeholders
from orchestrator.config.problems import Faults, render
from orchestrator.config.settings import settings
from orchestrator.config.source import Source, read_all, shown
from orchestrator.config.tables import Build, check_default_hooks, declare_accounts, declare_hooks, sort
from orchestrator.errors import ManifestError, Problem, SettingsError


def load(
    files: Sequence[Path],
    kinds: Kinds,
    env: Mapping[str, str],
    *,
    placeholders: Placeholders = Placeholders.REFUSED,
) -> Manifest:
    """Read and check everything; raises `ManifestError` with all problems, `SettingsError` for `env`."""
    sources, problems, cwd = read_all(files)
    build = Build(kinds=kinds, whole=not problems, placeholders=placeholders)
    sort(sources, build)
    options, origins = settings(sources, env, files[0].parent, build.faults)
    declare_accounts(build)
    declare_hooks(build)
    strangers = list(check_default_hooks(build, options, origins))
    declare_jobs(build, options.hooks)
    refuse(files, cwd, problems, build.faults, build)
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


def refuse(
    files: Sequence[Path], cwd: Path, problems: Sequence[Problem], faults: Faults, build: Build | None = None
) -> None:
    """Raise `ManifestError` with all that is wrong, if anything is."""
    build = build or Build(kinds=Kinds(providers={}, hooks={}), whole=False)
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
