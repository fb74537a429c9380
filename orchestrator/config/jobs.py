"""`[jobs.NAME]` tables to jobs: references, spec, local files and the fingerprint of the paid work."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from orchestrator.config.decode import decode, decode_text, encode, refuse_placeholders, refuse_reserved
from orchestrator.config.inputs import take
from orchestrator.config.manifest import AccountOptions, JobTable, Spec
from orchestrator.config.problems import Fault, Spot, quoted
from orchestrator.config.tables import LATER, Build, Entry, no_hook
from orchestrator.core.job import Input, Job, Policy, fingerprint
from orchestrator.errors import Code, near


def declare_jobs(build: Build, default_hooks: tuple[str, ...]) -> None:
    """Read every `[jobs.NAME]`; those that name no hooks get `default_hooks`."""
    for name, entry in build.entries["jobs"].items():
        job = _job(entry, build, default_hooks)
        if job is not None:
            build.jobs[name] = job


def _job(entry: Entry, build: Build, default_hooks: tuple[str, ...]) -> Job | None:
    before = build.faults.total
    build.faults += _later(entry)
    head = {key: value for key, value in entry.table.items() if key not in JobTable.apart}
    table = decode(JobTable, head, build.here(entry))
    build.faults += _unknown_hooks(entry, build)
    kind = _kind_of(entry, build)
    model = build.kinds.providers[kind].spec if kind else None
    spec = _spec(entry, model, build)
    if table is None or kind is None or model is None or spec is None:
        return None
    stored, inputs, hashes = _inputs(spec, model, entry, build)
    if build.faults.total > before:
        return None
    return Job(
        name=entry.name,
        account=table.provider,
        kind=kind,
        spec=stored,
        fingerprint=fingerprint(spec, inputs=hashes, secrets=model.secrets),
        inputs=inputs,
        policy=Policy(
            hooks=tuple(dict.fromkeys(default_hooks if table.hooks is None else table.hooks)),
            on_change=table.on_change,
            on_remove=table.on_remove,
            overdue_after=table.overdue_after,
        ),
    )


def _later(entry: Entry) -> Iterator[Fault]:
    """Refuse the keys of a later release by name, and let their defaults pass."""
    table = entry.table
    if "matrix" in table:
        yield entry.fault("matrix", message=LATER, code=Code.NOT_SUPPORTED, spot=Spot.KEY)
    if table.get("needs", []) != []:
        yield entry.fault("needs", message=LATER, code=Code.NOT_SUPPORTED, spot=Spot.KEY)
    retries = table.get("retries", 0)
    if isinstance(retries, bool) or retries != 0:
        yield entry.fault("retries", message=LATER, code=Code.NOT_SUPPORTED, spot=Spot.KEY)


def _unknown_hooks(entry: Entry, build: Build) -> Iterator[Fault]:
    known, names = build.entries["hooks"], entry.table.get("hooks")
    for index, name in enumerate(names if build.whole and isinstance(names, list) else ()):
        if isinstance(name, str) and name not in known:
            yield entry.fault(
                "hooks", index, message=no_hook(name), hint=near(name, known), code=Code.UNKNOWN_NAME
            )


def _kind_of(entry: Entry, build: Build) -> str | None:
    """Find the kind of the job's account, declaring the default account of a kind where it has none."""
    name = entry.table.get("provider")
    if not isinstance(name, str):
        return None  # reported with the rest of the table
    if name in build.account_kinds:
        return build.account_kinds[name]
    kind = build.kinds.providers.get(name)
    if not build.whole:
        return name if kind else None
    if kind is None:
        known = sorted({*build.account_kinds, *build.kinds.providers})
        message = f"unknown provider {quoted(name)}; known providers: {', '.join(known)}"
        build.faults.append(
            entry.fault("provider", message=message, hint=near(name, known), code=Code.UNKNOWN_NAME)
        )
        return None
    lacking = _default_account(name, kind.options, build)
    if lacking:
        message = f"needs a table [providers.{name}] with {', '.join(lacking)}"
        build.faults.append(entry.fault("provider", message=message, code=Code.MISSING_KEY))
    return name


def _default_account(name: str, model: type[AccountOptions], build: Build) -> list[str]:
    """Declare the account that a kind has without a table; return the keys that it would need."""
    if name in build.accounts:
        return []
    try:
        build.accounts[name] = model.model_validate({"kind": name})
    except ValidationError as error:
        needed = [str(key) for key, field in model.model_fields.items() if field.is_required()]
        return [key for key in needed if key != "kind"] or [str(error.errors()[0]["msg"])]
    return []


def _spec(entry: Entry, model: type[Spec] | None, build: Build) -> dict[str, Any] | None:
    """Check the spec with its provider's model; what is returned is what the user wrote."""
    spec = entry.table.get("spec")
    if not isinstance(spec, dict):
        message = "missing" if spec is None else f"expected a table, got {quoted(spec)}"
        code = Code.MISSING_KEY if spec is None else Code.INVALID_VALUE
        build.faults.append(entry.fault("spec", message=message, code=code))
        return None
    here = build.here(entry, "spec")
    text, unfit = encode(spec, here)
    refuse_reserved(text, spec, here)
    secrets = model.secrets if model else ()
    refuse_placeholders(text, spec, here, build.placeholders, secrets, build.doubts)
    if model is None:
        return spec
    table = spec
    if model.named and "name" not in spec and model.model_fields["name"].is_required():
        table = {"name": entry.name, **spec}
        text, _ = encode(table, replace(here, faults=[]))
    if decode_text(model, table, here, text, unfit) is not None:
        build.faults += _literal_secrets(entry, model, spec)
        build.doubts += _doubts(entry, model, spec)
    return spec


def _doubts(entry: Entry, model: type[Spec], spec: Mapping[str, Any]) -> Iterator[Fault]:
    for doubt in model.doubts(spec):
        yield entry.fault("spec", *doubt.path, message=doubt.message, hint=doubt.hint, spot=Spot.KEY)


def _literal_secrets(entry: Entry, model: type[Spec], spec: Mapping[str, Any]) -> Iterator[Fault]:
    """Refuse a literal at the paths that a driver calls secret, whatever type its model gave them."""
    for dotted in model.secrets:
        value: object = spec
        parts = dotted.split(".")
        for part in parts:
            value = value.get(part) if isinstance(value, Mapping) else None
        if value is not None and not isinstance(value, Mapping):
            message = "a secret is written as a reference, not as a value"
            hint = 'write { env = "NAME" }'
            yield entry.fault("spec", *parts, message=message, hint=hint, code=Code.LITERAL_SECRET)


def _inputs(
    spec: dict[str, Any], model: type[Spec], entry: Entry, build: Build
) -> tuple[dict[str, Any], Mapping[str, Input], Mapping[str, Mapping[str, str]]]:
    """Return the spec with absolute folders, the files in them, and their hashes by key of the spec."""
    stored, inputs, hashes = spec, dict[str, Input](), dict[str, dict[str, str]]()
    for key, names in model.folders.items():
        if not isinstance(spec.get(key), str):
            continue
        # abspath rather than resolve: a link in the path stays as the user wrote it
        folder = Path(os.path.abspath(entry.source.path.parent / spec[key]))
        found = _files(folder, names, entry, key, build)
        inputs.update(found)
        hashes[key] = {name: file.sha256 for name, file in found.items()}
        stored = {**stored, key: str(folder)}
    return stored, inputs, hashes


def _files(folder: Path, names: Sequence[str], entry: Entry, key: str, build: Build) -> Mapping[str, Input]:
    if not os.path.isdir(folder):
        build.faults.append(entry.fault("spec", key, message=f"no such folder: {quoted(str(folder))}"))
        return {}
    found: dict[str, Input] = {}
    for name in names:
        taken = take(folder, name)
        if isinstance(taken, Input):
            found[name] = taken
        else:
            build.faults.append(entry.fault("spec", key, message=taken))
    return found
