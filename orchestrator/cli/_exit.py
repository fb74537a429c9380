"""The exit codes of every command, and what each stands for."""

from typing import Final

from orchestrator.errors import Denied, ManifestError, OrchestratorError, SettingsError, UsageError

DONE: Final = 0
FAILED: Final = 1
MISUSE: Final = 2
"""The command line or a job file is wrong."""
CHANGES: Final = 2
"""`plan --detailed-exitcode` found changes."""
DECLINED: Final = 3
TOO_LONG: Final = 3
"""It was waited for as long as was asked."""
CREDENTIALS: Final = 4
"""Credentials are missing or refused."""
UNSUCCESSFUL: Final = 5
"""An awaited job failed, or waits for a person."""
INTERRUPTED: Final = 130


class Misuse(UsageError):
    """The command line itself is wrong."""


def of_error(error: OrchestratorError) -> int:
    """Return the code that a command ends with by this error."""
    if isinstance(error, ManifestError | SettingsError | Misuse):
        return MISUSE
    return CREDENTIALS if isinstance(error, Denied) else FAILED
