"""Where a key that stands in the wrong table belongs."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from pydantic import BaseModel

from orchestrator.config.locate import Key, Path, dotted
from orchestrator.config.manifest import AccountOptions, HookOptions, JobTable, Settings
from orchestrator.config.problems import Fault
from orchestrator.config.tables import Build
from orchestrator.config.translate import keys, models
from orchestrator.errors import Code

_DEPTH: Final = {"orchestrator": 2, "providers": 3, "hooks": 3}
"""How long the path of a table's own key is, where that is not the root."""


def explained(faults: Iterable[Fault], build: Build) -> Iterator[Fault]:
    """Say of each unknown key that another table has it by this very name, and which one."""
    for fault in faults:
        homes = list(_homes(fault.path, build)) if fault.code is Code.UNKNOWN_KEY else []
        if homes:
            hint = f"it belongs in {' or '.join(homes[:2])}"
            fault = replace(fault, message="unknown key here", code=Code.MISPLACED_KEY, hint=hint)
        yield fault


def _homes(path: Path, build: Build) -> Iterator[str]:
    key, here = path[-1], path[:-1]
    for home, known in _tables(path, build):
        if key in known and home != here:
            yield f"[{dotted(home)}]"


def _tables(path: Path, build: Build) -> Iterator[tuple[Path, Sequence[Key]]]:
    """Return the tables that a person may have had in mind at `path`, the nearest first, with their keys."""
    account: object = "NAME"
    if path[0] == "jobs" and len(path) > 2:
        table = build.entries["jobs"][str(path[1])].table
        yield from _spec(path[:2], table, build)
        yield path[:2], keys(JobTable, ())
        account = table.get("provider", account)
    elif len(path) > _DEPTH.get(str(path[0]), 1):
        return  # inside a value of its own, such as a reference to a secret
    yield ("orchestrator",), keys(Settings, ())
    yield ("providers", str(account)), _options(account, build)
    hooks: list[type[BaseModel]] = [HookOptions, *build.kinds.hooks.values()]
    yield ("hooks", "NAME"), [key for each in hooks for key in keys(each, ())]
    if path[0] != "jobs":
        yield ("jobs", "NAME"), keys(JobTable, ())


def _options(account: object, build: Build) -> list[str]:
    """Return the keys of an account's table, or of any provider's where it is not known which."""
    kinds = build.kinds.providers
    kind = build.account_kinds.get(str(account)) or str(account)
    found: list[type[BaseModel]] = [AccountOptions]
    found += [kinds[kind].options] if kind in kinds else [each.options for each in kinds.values()]
    return [key for each in found for key in keys(each, ())]


def _spec(job: Path, table: Mapping[str, Any], build: Build) -> Iterator[tuple[Path, Sequence[Key]]]:
    """Return the spec of a job and the tables in it, as its provider has them."""
    account = str(table.get("provider"))
    kind = build.account_kinds.get(account) or account
    if kind not in build.kinds.providers:
        return
    model = build.kinds.providers[kind].spec
    yield (*job, "spec"), keys(model, ())
    yield from _inner(model, (*job, "spec"))


def _inner(model: type[BaseModel], path: Path) -> Iterator[tuple[Path, Sequence[Key]]]:
    for key, field in model.model_fields.items():
        for inner in models(field.annotation):
            if inner.__name__ != "SecretRef":
                yield (*path, key), keys(inner, ())
                yield from _inner(inner, (*path, key))
