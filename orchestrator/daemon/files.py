"""The job files while a daemon runs: read again when they change, taken once they are valid and steady."""

from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import anyio
import structlog
from anyio import to_thread
from watchfiles import awatch

from orchestrator.config.manifest import Manifest
from orchestrator.errors import ManifestError, SettingsError

log: structlog.stdlib.BoundLogger = structlog.get_logger("orchestrator.daemon")

STEADY_SECONDS: Final = 0.2
LONGEST: Final = 4000
"""The most characters of a problem with the files that logs and /readyz show."""
FIXED: Final = ("database", "project")
"""Settings that are fixed until the daemon is restarted."""


@dataclass(kw_only=True)
class JobFiles:
    """The files that `reload` reads."""

    reload: Callable[[], Manifest]
    trouble: str | None = None
    """Why the files as they are now are not in force."""

    async def watch(self, files: Iterable[Path], changed: Callable[[], None], stop: anyio.Event) -> None:
        """Call `changed` whenever `files`, or job files beside them, have changed, until `stop`."""
        named = frozenset(files)
        # The folder: a watched file would be lost at its first atomic replacement.
        folders = {path.parent for path in named}
        before = await to_thread.run_sync(_stamps, folders, named)
        changed()  # what was saved until now may have been missed by whoever read them before
        # Its thread cannot be cancelled: without the event the end would wait for it, up to 5 s.
        # What was saved before the watch began is found when that time is over.
        async for _ in awatch(
            *folders, recursive=False, debounce=800, step=400, stop_event=stop, yield_on_timeout=True
        ):
            # Not by the names of what happened: a job file may be a link to what was replaced elsewhere,
            # and a database beside them is written all the time.
            now = await to_thread.run_sync(_stamps, folders, named)
            if now != before:
                before = now
                changed()

    async def news(self, now: Manifest) -> Manifest | None:
        """Return the files if they are to replace `now`; why they cannot is logged once."""
        try:
            return await self._news(now)
        except (ManifestError, SettingsError) as error:
            said = error.message
            if len(said) > LONGEST:
                said = f"{said[:LONGEST]}… (`orchestrator validate` shows the rest)"
            if self.trouble != said:
                self.trouble = said
                log.error("files.refused", error=said, hint="the last good files stay in force")
            return None

    async def _news(self, now: Manifest) -> Manifest | None:
        found = await to_thread.run_sync(self.reload)
        if (found.digest, found.jobs) != (now.digest, now.jobs):
            found = await self._steady(found)
            for setting in FIXED:
                if getattr(found.settings, setting) != getattr(now.settings, setting):
                    hint = "stop the daemon and start it again"
                    raise SettingsError(f"a change of {setting} needs a restart", hint=hint)
            self.trouble = None
            return found
        self.trouble = None
        return None

    def taken(self, now: Manifest, before: Manifest) -> None:
        """Say that `now` is in force in place of `before`."""
        if (now.digest, now.jobs) != (before.digest, before.jobs):
            log.info("files.changed", jobs=len(now.jobs))
        if now.settings.listen != before.settings.listen:
            log.warning("files.later", setting="listen", hint="it takes effect when the daemon is restarted")

    async def _steady(self, found: Manifest) -> Manifest:
        """Read until nothing changes any more: a half-written file may parse as a smaller one."""
        while True:
            await anyio.sleep(STEADY_SECONDS)
            again = await to_thread.run_sync(self.reload)
            if again.digest == found.digest:
                return again
            found = again


def _stamps(folders: Iterable[Path], named: Container[Path]) -> Mapping[str, tuple[int, ...] | None]:
    """Return, for each job file, what changes with its content, links followed; None if unreadable."""
    found: dict[str, tuple[int, ...] | None] = {}
    for folder in folders:
        for path in folder.iterdir():
            if path.suffix == ".toml" or path in named:
                try:
                    stat = path.stat()
                except OSError:
                    found[str(path)] = None
                else:
                    found[str(path)] = (stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
    return found
