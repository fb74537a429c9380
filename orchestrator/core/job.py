"""What a user declares: a job, its policies, and the fingerprint and marker of the paid work."""

import base64
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import Any

JsonObject = Mapping[str, Any]

MARKER = re.compile(r"(?<![A-Za-z0-9])ft1-[a-z2-7]{20}(?![A-Za-z0-9])")
"""A whole marker inside a provider's text field ."""


class OnChange(StrEnum):
    """What happens to a job whose paid work was edited."""

    ASK = "ask"
    REPLACE = "replace"
    CANCEL_THEN_REPLACE = "cancel_then_replace"
    REFUSE = "refuse"


class OnRemove(StrEnum):
    """What a confirmed apply does with the open run of a job that left the files."""

    KEEP = "keep"
    CANCEL = "cancel"


@dataclass(frozen=True, kw_only=True, slots=True)
class Input:
    """A local file that goes to the provider; it is sent only while it still has this content."""

    path: str
    sha256: str
    size: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Policy:
    """What may change without buying anything."""

    hooks: tuple[str, ...] = ()
    on_change: OnChange = OnChange.ASK
    on_remove: OnRemove = OnRemove.KEEP
    overdue_after: timedelta | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """A declared job; `fingerprint` is over the paid work alone."""

    name: str
    account: str
    kind: str
    spec: JsonObject
    fingerprint: str
    inputs: Mapping[str, Input] = field(default_factory=dict)
    policy: Policy = Policy()


def canonical(value: object) -> str:
    """Write `value` as JSON that is the same for the same content, whatever the order of keys."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def fingerprint(
    spec: JsonObject, *, inputs: Mapping[str, Mapping[str, str]], secrets: Sequence[str] = ()
) -> str:
    """Hash the paid work: `spec` as written, less `secrets` (dotted paths), folders by their files' hashes.

    `inputs` maps a key of `spec` that names a folder to `{file name: sha256}`. A golden file in the
    tests keeps the outcome equal across releases, since a change here would buy everything again.
    """
    folders = {key: dict(files) for key, files in inputs.items()}
    work = {**_without(spec, secrets), **folders}
    return hashlib.sha256(canonical(work).encode()).hexdigest()[:32]


def _without(table: JsonObject, secrets: Sequence[str], path: str = "") -> dict[str, object]:
    return {
        key: _without(value, secrets, f"{path}{key}.") if isinstance(value, Mapping) else value
        for key, value in table.items()
        if f"{path}{key}" not in secrets
    }


def marker(project: str, account: str, job: str, fingerprint: str, attempt: int) -> str:
    """Name one attempt so that a provider's listing shows it is ours, whatever became of the database."""
    return f"{marker_prefix(project)}{_letters(canonical([project, account, job, fingerprint, attempt]), 14)}"


def marker_prefix(project: str) -> str:
    """Return what every marker of `project` begins with."""
    return f"ft1-{_letters(canonical([project]), 6)}"


def find_marker(text: str) -> str | None:
    """Find the last whole marker in a provider's text field."""
    found = MARKER.findall(text)
    return found[-1] if found else None


def _letters(text: str, length: int) -> str:
    return base64.b32encode(hashlib.sha256(text.encode()).digest()).decode().lower()[:length]
