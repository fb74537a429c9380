"""What a provider is to the rest of the program, and which ones there are."""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, ClassVar, Final, Generic, TypeVar

from orchestrator.config.manifest import AccountOptions, Spec
from orchestrator.config.secret import Secret, SecretRef, resolve
from orchestrator.core.job import JsonObject
from orchestrator.core.run import Run, Snapshot, Status
from orchestrator.errors import Denied, Misread, SecretError
from orchestrator.providers._http import DEADLINE, UPLOAD_DEADLINE, Http, quiet_loggers
from orchestrator.providers._limit import Limiter

T = TypeVar("T")
GROUP = "orchestrator.providers"
PAGE_CAP: Final = 2_000
LISTED_CAP: Final = 250_000
PER_SECOND: Final = 5.0
"""Requests an account makes on average where its table does not say."""


@dataclass(frozen=True, slots=True)
class Fact(Generic[T]):
    """Something we rely on at a provider, and where it is written; no source means it is not known."""

    value: T
    source: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """What decides how safely a lost answer is recovered; each default is the pessimistic one."""

    create_is_paid: Fact[bool] = Fact(True)
    has_cancel: Fact[bool] = Fact(False)
    marker_field: Fact[str | None] = Fact(None)
    lag: Fact[timedelta | None] = Fact(None)
    newest_first: Fact[bool] = Fact(False)


@dataclass(frozen=True, kw_only=True, slots=True)
class Lifecycle:
    """The end of a service: shown by `plan`, `apply` and `providers`."""

    ended: date
    message: str
    source: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    """One page of a listing; `next` is the cursor of the page after it, None at the end."""

    items: tuple[Snapshot, ...]
    next: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Vault:
    """Where secrets come from: paths start at `root`, variables stand in `env`."""

    root: Path
    env: Mapping[str, str]

    async def open(self, reference: SecretRef) -> Secret:
        """Resolve one reference; raises `Denied` where it leads nowhere, since then nothing is sent."""
        try:
            return await resolve(reference, self.root, self.env)
        except SecretError as error:
            raise Denied(error.message) from error


@dataclass(frozen=True, kw_only=True, slots=True)
class Dataset:
    """Data that an account holds."""

    id: str
    name: str
    status: str | None = None


class Provider(ABC):
    """One provider's API for one account; the first three methods are a must, the rest where it has them."""

    kind: ClassVar[str]
    title: ClassVar[str]
    base_url: ClassVar[str]
    docs: ClassVar[str]
    credentials: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    """Keys of `Options` that hold a secret, and the variables that may stand in for each, in order."""
    Options: ClassVar[type[AccountOptions]] = AccountOptions
    Spec: ClassVar[type[Spec]]
    words: ClassVar[Mapping[str, Status]]
    facts: ClassVar[Facts] = Facts()
    steps: ClassVar[tuple[str, ...]] = ()
    """The calls after create, in order, before the work is really under way."""
    drafts: ClassVar[frozenset[str]] = frozenset()
    """The words for what waits for its next step: nothing is at work on it, nothing is paid for."""
    lifecycle: ClassVar[Lifecycle | None] = None

    def __init__(self, http: Http, options: AccountOptions, vault: Vault) -> None:
        self.http = http
        self.options = options
        self.vault = vault

    async def close(self) -> None:
        """Let go of the connections."""
        await self.http.close()

    @classmethod
    def headers(cls, options: AccountOptions, secrets: Mapping[str, Secret]) -> Mapping[str, str]:
        """Return the headers of every request; `secrets` holds each credential that was found, by its key.

        Raises `Denied` where none of the accepted credentials is there, and names them.
        """
        return bearer(secrets, "api_key", cls.credentials["api_key"])

    @classmethod
    def doubt(cls, spec: JsonObject) -> str | None:
        """Say why the provider's own service may refuse a valid `spec`, and where that is written."""
        return None

    @classmethod
    @abstractmethod
    def echo(cls, spec: JsonObject) -> Mapping[str, Any]:
        """Return the fields of `spec` that a listing repeats and that name the work."""

    @abstractmethod
    async def create(self, run: Run) -> Snapshot:
        """Send the one request that makes it; any other error than those of a refusal means in doubt."""

    @abstractmethod
    async def list(self, cursor: str | None = None) -> Page:
        """Read one page of all that the account holds."""

    async def find(self, run: Run, listed: Sequence[Snapshot]) -> tuple[Snapshot, ...]:
        """Pick from a complete listing what `run`'s lost request made; `listed` holds nothing of another run.

        More than one is for a person to decide; the newest stands first where that is known.
        """
        return tuple(snapshot for snapshot in listed if self.matches(run, snapshot))

    async def get(self, remote_id: str) -> Snapshot:
        """Read one; raises `Missing` where the provider does not know it."""
        raise NotImplementedError

    async def step(self, name: str, run: Run) -> Snapshot | None:
        """Make the call `name` of `steps`; safe to repeat while its outcome is not known.

        Returns what the provider says afterwards, or None where it says nothing.
        """
        raise NotImplementedError

    async def cancel(self, remote_id: str) -> None:
        """Ask it to stop."""
        raise NotImplementedError

    async def delete(self, remote_id: str) -> None:
        """Remove it."""
        raise NotImplementedError

    async def datasets(self) -> tuple[Dataset, ...]:
        """Read what data the account holds, for `audit`; nothing where the API has none."""
        return ()

    async def result(self, snapshot: Snapshot) -> JsonObject | None:
        """Return what inference needs, `model` first; None where it is not there yet."""
        return {"model": snapshot.remote_id}

    async def revealed(self, spec: JsonObject) -> JsonObject:
        """Copy `spec` with its secret references resolved, for the one request that carries them."""
        for path in self.Spec.secrets:
            spec = await self._reveal(spec, path.split("."))
        return spec

    async def _reveal(self, spec: JsonObject, path: Sequence[str]) -> JsonObject:
        key, *rest = path
        if spec.get(key) is None:
            return spec
        if rest:
            return {**spec, key: await self._reveal(spec[key], rest)}
        secret = await self.vault.open(SecretRef.model_validate(spec[key]))
        return {**spec, key: secret.reveal()}

    @classmethod
    def can(cls, call: str) -> bool:
        """Say whether this provider has the optional call."""
        return getattr(cls, call) is not getattr(Provider, call)

    @classmethod
    def matches(cls, run: Run, snapshot: Snapshot) -> bool:
        """Say whether `snapshot` is what `run` asked for: its marker, and the same work."""
        return snapshot.marker == run.marker and cls.same_work(run, snapshot)

    @classmethod
    def same_work(cls, run: Run, snapshot: Snapshot) -> bool:
        """Compare the fields that both name; one that the listing leaves out decides nothing."""
        asked = cls.echo(run.spec)
        return all(snapshot.echo.get(key, value) == value for key, value in asked.items())


def marked(text: str, marker: str, *, space: str = " ") -> str:
    """Put `marker` at the end of a text field that stays the user's."""
    return f"{text}{space}{marker}" if text else marker


def asked_for(snapshot: Snapshot, remote_id: str) -> Snapshot:
    """Take the answer to a read of `remote_id`; one about another raises `Misread`."""
    if snapshot.remote_id != remote_id:
        raise Misread("the answer describes a different fine-tune")
    return snapshot


def bearer(secrets: Mapping[str, Secret], key: str, variables: Sequence[str]) -> Mapping[str, str]:
    """Return the header of a bearer token, or raise `Denied` and say where to put one."""
    if key not in secrets:
        usual = " or ".join(variables)
        raise Denied(f'no credential: set {usual}, or {key} = {{ env = "…" }} in the account\'s table')
    return {"Authorization": f"Bearer {secrets[key].reveal()}"}


async def open_provider(
    kind: type[Provider],
    options: AccountOptions,
    vault: Vault,
    *,
    deadline: float = DEADLINE,
    upload_deadline: float = UPLOAD_DEADLINE,
) -> Provider:
    """Resolve an account's credentials and return its provider, ready to call and to be closed.

    Raises `Denied` where a credential is missing, does not resolve, or could not stand in a header.
    """
    quiet_loggers()
    given = {key: value for key in kind.credentials if (value := getattr(options, key)) is not None}
    secrets = {
        key: Secret(value) if isinstance(value, str) else await vault.open(value)
        for key, value in given.items()
    }
    try:
        headers = kind.headers(options, secrets)
    except Denied:  # what the table leaves out may be in the environment
        secrets = {
            key: Secret(value)
            for key, names in kind.credentials.items()
            if (value := next(filter(None, map(vault.env.get, names)), None))
        } | secrets
        headers = kind.headers(options, secrets)
    if not all(value.isascii() and value.isprintable() for value in headers.values()):
        raise Denied("a credential contains characters that are not allowed in an HTTP header")
    http = Http(
        options.base_url or kind.base_url,
        headers,
        Limiter(options.requests_per_second or PER_SECOND),
        deadline=deadline,
        upload_deadline=upload_deadline,
    )
    return kind(http, options, vault)


async def pages(
    provider: Provider, *, stop: Callable[[Page], bool] | None = None, most: int = PAGE_CAP
) -> AsyncIterator[Page]:
    """Read a listing page by page, to its end or until `stop` says that enough was seen.

    Only one that ends without `stop` is complete. One that loops, or has no end, raises `Misread`.
    """
    cursors: set[str] = set()
    shown: set[int] = set()  # a number for each page: of a hundred thousand ids the memory would be felt
    count = 0
    cursor: str | None = None
    for _ in range(most):
        page = await provider.list(cursor)
        known = len(shown)
        shown.add(hash(frozenset(item.remote_id for item in page.items)))
        count += len(page.items)
        yield page
        if page.next is None or (stop is not None and stop(page)):
            return
        if page.next in cursors or len(shown) == known or not page.items:
            raise Misread("the listing repeats itself")
        if count > LISTED_CAP:
            break
        cursors.add(page.next)
        cursor = page.next
    raise Misread("the listing does not end")


@cache
def registry() -> Mapping[str, type[Provider]]:
    """Return every provider kind that is installed, by its name."""
    return {point.name: point.load() for point in sorted(entry_points(group=GROUP), key=lambda p: p.name)}
