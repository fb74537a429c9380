"""Parsed files to named tables, accounts and hooks; `jobs` does the rest."""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, get_args

from orchestrator.config.decode import Here, decode
from orchestrator.config.locate import Path, printable
from orchestrator.config.manifest import (
    NAME,
    AccountOptions,
    HookOptions,
    Kinds,
    Section,
    Settings,
)
from orchestrator.config.placeholder import Placeholders
from orchestrator.config.problems import Fault, Faults, Spot, quoted
from orchestrator.config.source import Source
from orchestrator.core.job import Job
from orchestrator.errors import Code, near

SECTIONS: Final[tuple[Section, ...]] = get_args(Section)
LATER: Final = "not supported yet"
_NAME: Final = re.compile(NAME.removesuffix("$"))


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One named table: `[jobs.NAME]` and the like."""

    source: Source
    section: Section
    name: str
    table: dict[str, Any]

    @property
    def path(self) -> Path:
        """Where it stands in its file."""
        return (self.section, self.name)

    def fault(
        self,
        *inner: str | int,
        message: str,
        hint: str | None = None,
        code: Code = Code.INVALID_VALUE,
        spot: Spot = Spot.VALUE,
    ) -> Fault:
        """Blame something inside."""
        path = (*self.path, *inner)
        return Fault(source=self.source, path=path, message=message, hint=hint, code=code, spot=spot)


@dataclass(kw_only=True, slots=True)
class Build:
    """What is known so far of a manifest; `whole` is false while a file is missing from it."""

    kinds: Kinds
    whole: bool
    placeholders: Placeholders = Placeholders.REFUSED
    faults: Faults = field(default_factory=Faults)
    doubts: Faults = field(default_factory=Faults)
    """What is valid, but hardly meant."""
    entries: dict[Section, dict[str, Entry]] = field(default_factory=dict)
    accounts: dict[str, AccountOptions] = field(default_factory=dict)
    hooks: dict[str, HookOptions] = field(default_factory=dict)
    jobs: dict[str, Job] = field(default_factory=dict)
    account_kinds: dict[str, str | None] = field(default_factory=dict)
    """The kind of each declared account, None where its table does not say a known one."""

    def here(self, entry: Entry, *inner: str) -> Here:
        """Say where a table stands, for `decode`."""
        return Here(source=entry.source, path=(*entry.path, *inner), faults=self.faults)

    def all(self) -> Iterator[Entry]:
        """Walk over every named table."""
        for entries in self.entries.values():
            yield from entries.values()


def sort(sources: Sequence[Source], build: Build) -> None:
    """Take the files apart into named tables; a name that occurs twice names both places."""
    build.entries.update({section: {} for section in SECTIONS})
    folded: dict[tuple[Section, str], Entry] = {}
    for source in sources:
        build.faults += _unknown(source)
        for entry in _entries(source, build):
            key = (entry.section, unicodedata.normalize("NFC", entry.name).casefold())
            first = folded.setdefault(key, entry)
            if first is entry:
                build.entries[entry.section][entry.name] = entry
            else:
                build.faults.append(_twice(entry, first))


def _unknown(source: Source) -> Iterator[Fault]:
    known = ("orchestrator", *SECTIONS)
    for key in source.document:
        if key == "datasets":
            yield Fault(source=source, path=(key,), message=LATER, code=Code.NOT_SUPPORTED, spot=Spot.KEY)
        elif key not in known:
            yield Fault(
                source=source,
                path=(key,),
                message="unknown key",
                code=Code.UNKNOWN_KEY,
                spot=Spot.KEY,
                known=known,
            )


def _entries(source: Source, build: Build) -> Iterator[Entry]:
    for section in SECTIONS:
        tables = source.document.get(section, {})
        if not isinstance(tables, dict):
            build.faults.append(Fault(source=source, path=(section,), message="expected a table"))
            continue
        for name, table in tables.items():
            if not _NAME.fullmatch(name):
                message = "a name has up to 63 letters, digits, . - _ and starts with a letter or digit"
                build.faults.append(
                    Fault(source=source, path=(section, name), message=message, spot=Spot.KEY)
                )
            elif not isinstance(table, dict):
                build.faults.append(
                    Fault(
                        source=source,
                        path=(section, name),
                        message=f"expected a table, got {quoted(table)}",
                    )
                )
            else:
                yield Entry(source=source, section=section, name=name, table=table)


def _twice(entry: Entry, first: Entry) -> Fault:
    message = "already defined at"
    if entry.name != first.name:
        message = f'differs only in case from "{first.name}", defined at'
    return Fault(
        source=entry.source,
        path=entry.path,
        message=message,
        code=Code.DUPLICATE,
        spot=Spot.KEY,
        first=(first.source, first.path),
    )


def declare_accounts(build: Build) -> None:
    """Read every `[providers.NAME]`."""
    for name, entry in build.entries["providers"].items():
        kind = _kind(entry, build.kinds.providers, build)
        build.account_kinds[name] = kind
        if kind is None:
            continue
        model = build.kinds.providers[kind].options
        table = {**entry.table, "kind": kind}
        options = decode(model, table, build.here(entry))
        if options is not None:
            build.accounts[name] = options


def declare_hooks(build: Build) -> None:
    """Read every `[hooks.NAME]`."""
    for name, entry in build.entries["hooks"].items():
        kind = _kind(entry, build.kinds.hooks, build)
        if kind is None:
            continue
        table = {**entry.table, "kind": kind}
        options = decode(build.kinds.hooks[kind], table, build.here(entry))
        if options is not None:
            build.hooks[name] = options


def _kind(entry: Entry, known: Iterable[str], build: Build) -> str | None:
    kind = entry.table.get("kind", entry.name)
    if isinstance(kind, str) and kind in known:
        return kind
    words = ", ".join(known)
    if not isinstance(kind, str):
        fault = entry.fault("kind", message=f"expected one of {words}, got {quoted(kind)}")
    elif "kind" in entry.table:
        message = f"expected one of {words}, got {quoted(kind)}"
        fault = entry.fault("kind", message=message, hint=near(kind, known), code=Code.UNKNOWN_NAME)
    else:
        message = f'missing, because "{kind}" is not a kind (one of {words})'
        fault = entry.fault("kind", message=message, hint=near(kind, known), code=Code.UNKNOWN_NAME)
    build.faults.append(fault)
    return None


def check_default_hooks(build: Build, settings: Settings, origins: Mapping[str, Source]) -> Iterator[str]:
    """Check `[orchestrator] hooks`; the names that the environment gave wrongly are yielded."""
    for index, name in enumerate(settings.hooks if build.whole else ()):
        if name in build.entries["hooks"]:
            continue
        if "hooks" not in origins:
            yield name
            continue
        path = ("orchestrator", "hooks", index)
        known = build.entries["hooks"]
        build.faults.append(
            Fault(
                source=origins["hooks"],
                path=path,
                message=no_hook(name),
                hint=near(name, known),
                code=Code.UNKNOWN_NAME,
            )
        )


def no_hook(name: str) -> str:
    """Say that a hook is named but not declared."""
    return f"there is no [hooks.{printable(name, 63)}]"
