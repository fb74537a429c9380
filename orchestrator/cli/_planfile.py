"""Saved plans: what `apply FILE` does is exactly what was shown, or nothing."""

import json
import os
from dataclasses import dataclass
from pathlib import Path

from orchestrator.app.documents import as_json
from orchestrator.app.plan import document, seal
from orchestrator.config.manifest import Manifest
from orchestrator.core.plan import Plan
from orchestrator.errors import UsageError

LARGEST = 64 * 1024 * 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class Saved:
    """What a plan file is recognised by."""

    digest: str
    seal: str
    again: bool

    def check(self, plan: Plan, manifest: Manifest) -> None:
        """Raise `UsageError` where `plan`, made now, is not the one that was saved."""
        if self.digest != manifest.digest:
            raise UsageError(
                "the files have changed since the plan was saved", hint="orchestrator plan --out FILE"
            )
        if self.seal != seal(plan, manifest):
            raise UsageError(
                "the runs have moved on since the plan was saved", hint="orchestrator plan --out FILE"
            )


def save(path: Path, plan: Plan, manifest: Manifest, *, again: bool) -> None:
    """Write a plan file, for this user alone."""
    own = {"files": manifest.digest, "seal": seal(plan, manifest), "again": again}
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(as_json(document(plan)) | {"saved": own}, file, indent=2)


def load(path: Path) -> Saved:
    """Read a plan file; raises `UsageError` for a file that is none."""
    try:
        if path.stat().st_size > LARGEST:
            raise ValueError("too large")
        own = json.loads(path.read_text("utf-8"))["saved"]
        return Saved(digest=str(own["files"]), seal=str(own["seal"]), again=own["again"] is True)
    except FileNotFoundError as error:
        raise UsageError(f"{path}: no such file", hint="orchestrator plan --out FILE") from error
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UsageError(f"{path} is not a plan file", hint="orchestrator plan --out FILE") from error
