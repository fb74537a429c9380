"""The whole error tree, ordered by what a caller can do about each.

OrchestratorError
  UsageError          the command line asked for something that cannot be
    UnknownName       it named what is not there
  ManifestError       the job files; holds every problem found
  SettingsError       the environment
  SecretError         a reference that does not resolve
  StoreError          the database
    SchemaError       its schema is not the one this release speaks
    StoreAway         it does not answer; the same call may work later
    StoreRemoved      its file is not the one that was opened
    LeaseLost         another worker went on; drop the result
  RemoteError         what somebody else did not do, over HTTP or as a program
    ProviderError     a provider
      Transient         same call again later
        NotSent         proof that nothing left this machine
        Throttled       refused before any work was done
      Denied            credentials; pause the account
      Rejected          it said no; the run fails
        Gone            the endpoint itself is no more
      Missing           it does not know this id
      Misread           it answered in a form we do not understand
      Unclear           sent, or maybe; only a listing can tell
    HookError         a receiver: the delivery did not arrive
      HookGone        it wants no more of them
"""

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar, Final

MOST_PROBLEMS: Final = 100
"""Problems of job files that are told one by one; of the rest, how many there are."""


class Code(StrEnum):
    """What an error is called in JSON and for `orchestrator explain`; a name never changes its meaning."""

    UNKNOWN_KEY = "unknown-key"
    MISPLACED_KEY = "misplaced-key"
    MISSING_KEY = "missing-key"
    INVALID_VALUE = "invalid-value"
    UNKNOWN_NAME = "unknown-name"
    DUPLICATE = "duplicate"
    LITERAL_SECRET = "literal-secret"  # noqa: S105 - a name
    PLACEHOLDER = "placeholder"
    NOT_SUPPORTED = "not-supported"
    NOT_TOML = "not-toml"
    UNREADABLE_FILE = "unreadable-file"
    TOO_LARGE = "too-large"
    USAGE = "usage"
    SETTINGS = "settings"
    SECRET = "secret"  # noqa: S105 - a name
    DATABASE = "database"
    DATABASE_SCHEMA = "database-schema"
    CREDENTIALS = "credentials"
    PROVIDER = "provider"
    HOOK = "hook"
    SYSTEM = "system"
    FAILED = "failed"
    BUG = "bug"


def near(word: str, known: Iterable[str]) -> str | None:
    """Suggest the known word that was probably meant."""
    # a long word is never a slip of the pen, and comparing it is slow
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6) if len(word) <= 100 else []
    return f'did you mean "{close[0]}"?' if close else None


class OrchestratorError(Exception):
    """The root of every error that is ours to explain; `hint` says what to type next."""

    kind: ClassVar[Code] = Code.FAILED

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(OrchestratorError):
    """The command asked for something that cannot be done."""

    kind = Code.USAGE


class UnknownName(UsageError):
    """The command named something that is not there; the name among `known` that is nearest is suggested."""

    kind = Code.UNKNOWN_NAME

    def __init__(self, message: str, name: str, known: Iterable[str], *, hint: str | None = None) -> None:
        meant = near(name, known)
        super().__init__(f"{message}, {meant}" if meant else message, hint=hint)


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """One fault in a job file; `line` and `column` count from 1, 0 where unknown."""

    file: str
    line: int = 0
    column: int = 0
    path: str = ""
    message: str
    hint: str | None = None
    code: Code = Code.INVALID_VALUE
    excerpt: str = ""
    """The line of the file, empty where it is not known or may hold a secret."""
    width: int = 1
    """How many characters of the excerpt, from `column`, are meant."""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        where = f"{self.path}: " if self.path else ""
        hint = f", {self.hint}" if self.hint else ""
        return f"{place}: {where}{self.message}{hint}"


@dataclass(frozen=True, slots=True)
class Doubt:
    """Something that a valid spec hardly means: its path, what is odd, and what was probably meant."""

    path: tuple[str, ...]
    message: str
    hint: str | None = None


class ManifestError(OrchestratorError):
    """The job files hold problems: those in `problems`, and `more` that are not told one by one."""

    kind = Code.INVALID_VALUE

    def __init__(self, problems: Sequence[Problem], *, more: int = 0) -> None:
        self.problems = tuple(problems)[:MOST_PROBLEMS]
        self.more = more + len(problems) - len(self.problems)
        rest = [f"and {self.more} more"] if self.more else []
        super().__init__("\n".join([*map(str, self.problems), *rest]))


class SettingsError(OrchestratorError):
    """The environment or a path is not as it must be."""

    kind = Code.SETTINGS


class SecretError(OrchestratorError):
    """A secret reference does not resolve; the text never holds the value."""

    kind = Code.SECRET


class StoreError(OrchestratorError):
    """The database cannot be read or written."""

    kind = Code.DATABASE


class SchemaError(StoreError):
    """The database's schema is not the one that this release speaks."""

    kind = Code.DATABASE_SCHEMA


class StoreAway(StoreError):
    """The database does not answer now; the same call may work later."""


class StoreRemoved(StoreError):
    """The database's file was removed or replaced while it was open."""


class LeaseLost(StoreError):
    """Another worker took the row over; the result in hand is to be dropped."""


class RemoteError(OrchestratorError):
    """Somebody else did not do what was asked; `code` is the HTTP status where there was one."""

    def __init__(
        self,
        message: str,
        *,
        code: int | None = None,
        retry_after: float | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.code = code
        self.retry_after = retry_after
        """Seconds that we were asked to wait, or None."""


class ProviderError(RemoteError):
    """A provider did not do what was asked; `name` is its own name for the error, where it has one."""

    kind = Code.PROVIDER

    def __init__(
        self,
        message: str,
        *,
        code: int | None = None,
        retry_after: float | None = None,
        hint: str | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(message, code=code, retry_after=retry_after, hint=hint)
        self.name = name


class Transient(ProviderError):
    """The same call may work later."""


class NotSent(Transient):
    """It is proven that no byte of the request left this machine."""


class Throttled(Transient):
    """The provider refused before doing any work."""


class Denied(ProviderError):
    """The credentials are missing, refused or out of funds; nothing was made."""

    kind = Code.CREDENTIALS


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


class HookError(RemoteError):
    """A delivery did not arrive; it is tried again on the schedule."""

    kind = Code.HOOK

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
        super().__init__(message, code=code, retry_after=retry_after, hint=hint)
        self.later = later
        """The receiver asked for a later try, which counts as no failure."""
        self.down = down
        """The receiver as a whole is in trouble, not this delivery."""


class HookGone(HookError):
    """The receiver wants no more deliveries (HTTP 410)."""
