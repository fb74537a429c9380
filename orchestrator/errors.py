"""The whole error tree, ordered by what a caller can do about each.

OrchestratorError
  UsageError          the command line asked for something that cannot be
  ManifestError       the job files; holds every problem found
  SettingsError       the environment
  SecretError         a reference that does not resolve
  StoreError          the database
    SchemaError       its schema is not the one this release speaks
    LeaseLost         another worker went on; drop the result
  ProviderError       what a provider did
    Transient         same call again later
      NotSent         proof that nothing left this machine
      Throttled       refused before any work was done
    Denied            credentials; pause the account
    Rejected          it said no; the run fails
      Gone            the endpoint itself is no more
    Missing           it does not know this id
    Misread           it answered in a form we do not understand
    Unclear           sent, or maybe; only a listing can tell
  HookError           a delivery that did not arrive
    HookGone          the receiver wants no more of them
"""

from collections.abc import Sequence
from dataclasses import dataclass


class OrchestratorError(Exception):
    """The root of every error that is ours to explain; `hint` says what to type next."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(OrchestratorError):
    """The command asked for something that cannot be done."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """One fault in a job file; `line` and `column` count from 1, 0 where unknown."""

    file: str
    line: int = 0
    column: int = 0
    path: str = ""
    message: str
    hint: str | None = None

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        where = f"{self.path}: " if self.path else ""
        hint = f", {self.hint}" if self.hint else ""
        return f"{place}: {where}{self.message}{hint}"


class ManifestError(OrchestratorError):
    """The job files hold problems; all that were found are in `problems`."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class SettingsError(OrchestratorError):
    """The environment or a path is not as it must be."""


class SecretError(OrchestratorError):
    """A secret reference does not resolve; the text never holds the value."""


class StoreError(OrchestratorError):
    """The database cannot be read or written."""


class SchemaError(StoreError):
    """The database's schema is not the one that this release speaks."""


class LeaseLost(StoreError):
    """Another worker took the row over; the result in hand is to be dropped."""


class ProviderError(OrchestratorError):
    """A provider did not do what was asked; `code` is the HTTP status where there was one."""

    def __init__(self, message: str, *, code: int | None = None, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.retry_after = retry_after
        """Seconds that the provider asked us to wait, or None."""


class Transient(ProviderError):
    """The same call may work later."""


class NotSent(Transient):
    """It is proven that no byte of the request left this machine."""


class Throttled(Transient):
    """The provider refused before doing any work."""


class Denied(ProviderError):
    """The credentials are missing, refused or out of funds; nothing was made."""


class Rejected(ProviderError):
    """The provider said no for good; nothing was made."""


class Gone(Rejected):
    """The endpoint itself is no more: the provider has ended the service."""


class Missing(ProviderError):
    """The provider does not know this id."""


class Misread(ProviderError):
    """The answer has a form that we do not understand."""


class Unclear(ProviderError):
    """The request may have been applied; only a complete listing can tell."""


class HookError(OrchestratorError):
    """A delivery did not arrive; it is tried again on the schedule."""

    def __init__(
        self,
        message: str,
        *,
        code: int | None = None,
        retry_after: float | None = None,
        later: bool = False,
        down: bool = False,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.code = code
        """The HTTP status, where there was one."""
        self.retry_after = retry_after
        """Seconds that the receiver asked us to wait, or None."""
        self.later = later
        """The receiver asked for a later try, which counts as no failure."""
        self.down = down
        """The receiver as a whole is in trouble, not this delivery."""


class HookGone(HookError):
    """The receiver wants no more deliveries (HTTP 410)."""
