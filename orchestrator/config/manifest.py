"""The grammar of a job file as models, and the values that come of it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    PrivateAttr,
    Tag,
    ValidationInfo,
    field_validator,
)
from pydantic_core import PydanticCustomError

from orchestrator.config.address import Address, database_url
from orchestrator.config.duration import Duration
from orchestrator.config.secret import SecretRef
from orchestrator.config.url import BaseUrl, in_the_clear, url_problem
from orchestrator.core.delivery import Route
from orchestrator.core.event import DEFAULT_EVENTS, EventType
from orchestrator.core.job import Job, OnChange, OnRemove
from orchestrator.errors import Doubt, Problem

NAME: Final = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$"
Section = Literal["providers", "hooks", "jobs"]

Name = Annotated[str, Field(pattern=NAME)]
"""What a job, an account, a hook and a project may be called."""

_SECOND: Final = timedelta(seconds=1)


def _listen(text: str) -> str:
    host, colon, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    fine = bool(host) and (bracketed or ":" not in host) and host.isprintable() and " " not in host
    if text and not (colon and fine and port.isascii() and port.isdecimal() and int(port) < 65536):
        raise PydanticCustomError("listen", 'expected host:port such as "127.0.0.1:8787", or "" for none')
    return text


def _heartbeat(text: str) -> str:
    # A query is allowed, and the text is never shown: whoever has it can speak for us.
    problem = url_problem(text.partition("?")[0])
    if problem:
        raise PydanticCustomError("heartbeat", "expected an address such as https://hc-ping.com/…")
    return text


def _written(value: object) -> str:
    return "text" if isinstance(value, str) else "reference"


Heartbeat = Annotated[
    Annotated[str, Field(max_length=2000), AfterValidator(_heartbeat), Tag("text")]
    | Annotated[SecretRef, Tag("reference")],
    Discriminator(_written),
]
"""An address that is pinged, as it stands or by reference."""


class Table(BaseModel):
    """A table of a job file: frozen, strict about types, and no key that is not known."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, hide_input_in_errors=True)


class Settings(Table):
    """`[orchestrator]`: what holds for the whole set of jobs."""

    project: Name = Field(
        default="jobs",
        description="Identifies this set of jobs in the markers. Default: the folder's name.",
    )
    database: Annotated[str, Field(max_length=2000), AfterValidator(database_url)] = Field(
        default="sqlite:///.orchestrator/state.db",
        repr=False,  # by way of the environment it may hold a password
        description="sqlite:///PATH, relative to the first job file, or postgresql://user@host/name.",
    )
    poll_interval: Annotated[Duration, Field(ge=_SECOND)] = Field(
        default=timedelta(seconds=30), description="How often each account is polled, 1s at least."
    )
    listen: Annotated[str, Field(max_length=300), AfterValidator(_listen)] = Field(
        default="127.0.0.1:8787", description='Dashboard, API and metrics; "" turns them off.'
    )
    hooks: tuple[Name, ...] = Field(
        default=(), description="Hooks for every job that names none, and for account events."
    )
    heartbeat: Heartbeat | None = Field(
        default=None,
        repr=False,  # whoever has it can speak for us
        description="An address, or a reference to one, that the daemon pings while all of it works.",
    )
    max_new_runs: int = Field(
        default=20,
        ge=0,
        le=1_000_000,
        description="A saved file that would start more runs than this starts none; they wait for apply.",
    )
    keep: Annotated[Duration, Field(ge=timedelta(days=1))] = Field(
        default=timedelta(days=400), description="How long details of what is over are kept, 1d at least."
    )

    _root: Path | None = PrivateAttr(default=None)
    _file: Path | None = PrivateAttr(default=None)

    def placed(self, root: Path, file: Path | None) -> "Settings":
        """Return the settings of files below `root`, of which `file` alone names the database's server."""
        made = self.model_copy()
        made._root, made._file = root, file
        return made

    @property
    def address(self) -> Address:
        """Where the database is, and what it takes to open it safely."""
        return Address(url=self.database, root=self._root, file=self._file)

    @property
    def database_path(self) -> Path | None:
        """The file of an SQLite database, None for PostgreSQL."""
        return self.address.path


class AfterDoubt(StrEnum):
    """What becomes of a run whose answer is still not known after the doubt window."""

    PARK = "park"
    RESEND = "resend"


class AccountOptions(Table):
    """`[providers.NAME]`, the keys that every provider has; a driver adds its own."""

    kind: str = Field(description="Which provider this is. Default: the table's name.")
    # Before `base_url`, whose check needs it.
    allow_insecure: bool = Field(
        default=False, description="Plain http to a base_url that is not on this machine, key and all."
    )
    base_url: BaseUrl | None = Field(
        default=None, description="The API's address, if it is not the provider's own."
    )
    poll_interval: Annotated[Duration, Field(ge=_SECOND)] | None = Field(
        default=None, description="How often this account is polled, 1s at least."
    )
    max_running: int | None = Field(
        default=None, ge=1, le=1_000_000, description="How many runs may be open, those in doubt included."
    )
    # Below, the second page of a listing would wait for longer than an exchange may take.
    requests_per_second: float | None = Field(default=None, ge=0.1, le=10_000)
    after_doubt: AfterDoubt = Field(
        default=AfterDoubt.PARK,
        description="Once doubt_window has passed: park (a person decides) or resend (may pay twice).",
    )
    doubt_window: Annotated[Duration, Field(ge=_SECOND)] = Field(
        default=timedelta(minutes=15), description="How long to look for a run whose answer was lost."
    )

    @field_validator("base_url")
    @classmethod
    def _secure(cls, url: str | None, info: ValidationInfo) -> str | None:
        if url is not None and in_the_clear(url) and not info.data.get("allow_insecure"):
            message = "plain http shows the key to everyone on the way; allow_insecure = true permits it"
            raise PydanticCustomError("base_url", "{text}", {"text": message})
        return url


def _patterns(patterns: tuple[str, ...]) -> tuple[str, ...]:
    if not patterns or not all(patterns):
        raise PydanticCustomError("patterns", "expected at least one name or pattern")
    return patterns


Patterns = Annotated[
    tuple[Annotated[str, Field(max_length=200)], ...],
    Field(strict=False, json_schema_extra={"minItems": 1}),
    AfterValidator(_patterns),
]
"""Names, with `*`, `?` and `[…]` for what they do not say."""


class HookOptions(Table):
    """`[hooks.NAME]`, the keys that every kind has."""

    kind: str = Field(description="Which kind of hook. Default: the table's name.")
    events: tuple[EventType, ...] = Field(default=DEFAULT_EVENTS, description="Which events it gets.")
    jobs: Patterns | None = Field(
        default=None,
        description='Only for these of the jobs that name it: names or patterns such as "voice-*".',
    )
    providers: Patterns | None = Field(
        default=None, description="Only for these accounts: names or patterns."
    )
    lasts: Annotated[Duration, Field(ge=timedelta(0), le=timedelta(days=7))] = Field(
        default=timedelta(0),
        alias="for",
        description="Send an event only if its state lasts this long, 7d at most.",
    )
    superseded: bool = Field(default=False, description="Also send events of runs that were replaced.")


class JobTable(Table):
    """`[jobs.NAME]` without its `spec`, which the provider's own model reads."""

    apart: ClassVar = ("spec", "matrix", "needs", "retries")  # keys that are read by themselves

    provider: str = Field(description="The account: a table under [providers], or a kind.")
    hooks: tuple[Name, ...] | None = Field(
        default=None, description="Which hooks to notify. Default: the hooks in [orchestrator]."
    )
    on_change: OnChange = Field(default=OnChange.ASK, description="What happens when the spec is edited.")
    on_remove: OnRemove = Field(
        default=OnRemove.KEEP,
        description="What a confirmed apply does with the open run of a job that was removed from the files.",
    )
    overdue_after: Annotated[Duration, Field(ge=_SECOND)] | None = Field(
        default=None, description="When to report that a run takes too long, counted from its submission."
    )


class Spec(Table):
    """The provider's documented request fields, by the provider's own names."""

    named: ClassVar[bool] = False
    """The request has a `name`, which defaults to the job's."""
    secrets: ClassVar[tuple[str, ...]] = ()
    """Dotted paths that hold a secret reference."""
    base: ClassVar[str] = ""
    """The dotted path of the base model, by which it is learned how long a run usually takes."""
    folders: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    """Keys that name a local folder, and the files that must be in it."""

    @classmethod
    def doubts(cls, spec: Mapping[str, Any]) -> Iterator[Doubt]:
        """Find what a valid spec hardly means."""
        yield from ()


@dataclass(frozen=True, kw_only=True, slots=True)
class ProviderKind:
    """The grammar that a driver brings: of its account and of its jobs' spec."""

    options: type[AccountOptions]
    spec: type[Spec]


@dataclass(frozen=True, kw_only=True, slots=True)
class Kinds:
    """What is installed, by name; the registries pass it in, since grammar knows no driver."""

    providers: Mapping[str, ProviderKind]
    hooks: Mapping[str, type[HookOptions]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """All job files together, checked."""

    settings: Settings
    accounts: Mapping[str, AccountOptions]
    hooks: Mapping[str, HookOptions]
    jobs: Mapping[str, Job]
    files: tuple[Path, ...]
    root: Path
    """The folder of the first file."""
    origins: Mapping[tuple[Section, str], Path]
    """The file that declares each account, hook and job; default accounts have none."""
    digest: str
    """The hash of all files' bytes and names."""
    warnings: tuple[Problem, ...] = field(default=())

    def folder(self, section: Section, name: str) -> Path:
        """Return where the relative paths of one table start."""
        origin = self.origins.get((section, name))
        return origin.parent if origin else self.root

    def poll_interval(self, account: str) -> timedelta:
        """Return how often `account` is polled."""
        return self.accounts[account].poll_interval or self.settings.poll_interval

    def routes(self) -> Mapping[str, Route]:
        """Return what each hook wants to hear of."""
        return {
            name: Route(
                name=name,
                events=hook.events,
                jobs=hook.jobs,
                providers=hook.providers,
                superseded=hook.superseded,
                lasts=hook.lasts,
            )
            for name, hook in self.hooks.items()
        }
