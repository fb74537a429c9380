"""The interface of a provider: the class that each driver extends, and the values it returns."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import httpx

from orchestrator.config.manifest import AccountOptions, Spec
from orchestrator.config.secret import Secret, SecretRef, resolve
from orchestrator.core.job import JsonObject, find_marker
from orchestrator.core.run import Run, Snapshot, Status
from orchestrator.core.text import clean
from orchestrator.errors import Denied, Misread, ProviderError, SecretError
from orchestrator.providers._http import Http
from orchestrator.providers.auth import Bearer
from orchestrator.providers.request import Request, typed

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Fact(Generic[T]):
    """Something we rely on, and where the provider documents it; without a source it is an assumption."""

    value: T
    source: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """Facts that decide how a lost answer is recovered; each default is the pessimistic one."""

    create_is_paid: Fact[bool] = Fact(True)
    has_cancel: Fact[bool] = Fact(False)
    marker_field: Fact[str | None] = Fact(None)
    lag: Fact[timedelta | None] = Fact(None)
    newest_first: Fact[bool] = Fact(False)


@dataclass(frozen=True, kw_only=True, slots=True)
class Lifecycle:
    """The end of a service, shown by `plan`, `apply` and `providers`."""

    ended: date
    message: str
    source: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    """One page of a listing; `next` is the cursor of the following page, None on the last."""

    items: tuple[Snapshot, ...]
    next: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class SecretResolver:
    """Resolves secret references: relative paths start at `root`, variables are looked up in `env`."""

    root: Path
    env: Mapping[str, str]

    async def resolve(self, reference: SecretRef) -> Secret:
        """Resolve one reference; raises `Denied` if it leads nowhere, because then nothing is sent."""
        try:
            return await resolve(reference, self.root, self.env)
        except SecretError as error:
            raise Denied(error.message) from error


@dataclass(frozen=True, kw_only=True, slots=True)
class Dataset:
    """A dataset in an account."""

    id: str
    name: str
    status: str | None = None


class KeyOptions(AccountOptions):
    """`[providers.NAME]` of a provider with one API key."""

    api_key: SecretRef | None = None


class Provider(ABC):
    """One provider's API for one account; a driver needs `create` and `list`, other calls are optional."""

    kind: ClassVar[str]
    title: ClassVar[str]
    base_url: ClassVar[str]
    docs: ClassVar[str]
    credentials: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    """The keys of `Options` that are secrets, and the variables to fall back on for each, in order."""
    headers: ClassVar[Mapping[str, str]] = {}
    """Headers of every request, besides the credentials."""
    upload_origins: ClassVar[tuple[str, ...]] = ()
    """Other origins that files may be uploaded to, such as `https://*.r2.cloudflarestorage.com`."""
    refusals: ClassVar[Mapping[str, type[ProviderError]]] = {}
    """What an error of this name means for a create, where its status code would be misleading.

    It refines codes that prove that nothing was made; after any other code the create stays in doubt.
    """
    Options: ClassVar[type[AccountOptions]] = AccountOptions
    Spec: ClassVar[type[Spec]]
    identity_fields: ClassVar[tuple[str, ...]] = ()
    """Dotted paths of the spec fields that identify the work and are repeated in listings."""
    status_map: ClassVar[Mapping[str, Status]]
    """What each status word means; an unknown one is shown, and changes no status."""
    facts: ClassVar[Facts] = Facts()
    steps: ClassVar[tuple[str, ...]] = ()
    """The calls that follow create, in order, before the work really starts."""
    drafts: ClassVar[frozenset[str]] = frozenset()
    """The status words that mean it waits for its next step: nothing runs, and nothing is charged."""
    lifecycle: ClassVar[Lifecycle | None] = None
    _identity_paths: ClassVar[Sequence[tuple[str, Sequence[str]]]] = ()

    def __init_subclass__(cls) -> None:
        cls._identity_paths = tuple((path, path.split(".")) for path in cls.identity_fields)

    def __init__(self, http: Http, options: AccountOptions, secrets: SecretResolver) -> None:
        if not isinstance(options, self.Options):
            raise TypeError(f"not the options of {self.title}")
        self.http = http
        self.options = options
        self.secrets = secrets

    async def close(self) -> None:
        """Close the connections."""
        await self.http.close()

    @classmethod
    def auth(cls, options: AccountOptions, secrets: Mapping[str, Secret]) -> httpx.Auth:
        """Return how requests are authenticated; `secrets` has the credentials that were found, by key.

        Raises `Denied`, naming the accepted credentials, if none of them is there.
        """
        return Bearer(credential(secrets, "api_key", cls.credentials["api_key"]))

    @classmethod
    def doubt(cls, spec: JsonObject) -> str | None:
        """Say why the provider itself may refuse a valid `spec`, with the source."""
        return None

    @classmethod
    def identity(cls, item: JsonObject) -> Mapping[str, Any]:
        """Return those identifying fields that `item`, a spec or an entry of a listing, has."""
        found = {}
        for path, (first, *rest) in cls._identity_paths:  # a loop, since every line of a listing passes here
            value = item.get(first)
            for key in rest:
                value = value.get(key) if isinstance(value, dict) else None
            if value is not None:
                found[path] = value
        return found

    def body(self, request: Request[Any]) -> JsonObject:
        """Return the JSON that `create` sends: the spec, unless the driver adds a name or the marker."""
        return request.body()

    @abstractmethod
    async def create(self, request: Request[Any]) -> Snapshot:
        """Send the request that creates it; every error that does not prove a refusal means in doubt."""

    @abstractmethod
    async def list(self, cursor: str | None = None) -> Page:
        """Read one page of everything in the account."""

    async def find(self, run: Run, listed: Sequence[Snapshot]) -> tuple[Snapshot, ...]:
        """Find in a complete listing what `run`'s lost request made; `listed` leaves out other runs' work.

        If it returns several, a person decides; the newest comes first where that is known.
        """
        return tuple(snapshot for snapshot in listed if self.matches(run, snapshot))

    async def get(self, remote_id: str) -> Snapshot:
        """Read one; raises `Missing` if the provider does not know it."""
        raise NotImplementedError

    async def step(self, name: str, run: Run) -> Snapshot | None:
        """Make the call `name` of `steps`; it must be safe to repeat while its outcome is unknown.

        Returns what the provider reports afterwards, or None if it reports nothing.
        """
        raise NotImplementedError

    async def cancel(self, remote_id: str) -> None:
        """Ask the provider to stop it."""
        raise NotImplementedError

    async def delete(self, remote_id: str) -> None:
        """Delete it at the provider."""
        raise NotImplementedError

    async def datasets(self) -> tuple[Dataset, ...]:
        """Read the account's datasets, for `audit`; none if the API has no datasets."""
        return ()

    async def result(self, snapshot: Snapshot) -> JsonObject | None:
        """Return what inference needs, `model` first; None if it is not there yet."""
        return {"model": snapshot.remote_id}

    async def request(self, run: Run) -> Request[Any]:
        """Resolve `run` into the request that `create` takes; raises `Denied` if a secret does not resolve.

        Raises `Rejected` if the spec was stored by an older release and is no longer valid.
        """
        return Request(
            job=run.job,
            attempt=run.attempt,
            marker=run.marker,
            spec=typed(self.Spec, run.spec),
            inputs=run.inputs,
            secrets={
                path: await self.secrets.resolve(SecretRef.model_validate(reference))
                for path in self.Spec.secrets
                if (reference := _at(run.spec, path)) is not None
            },
        )

    def snapshot(
        self,
        item: JsonObject,
        *,
        remote_id: str,
        word: str,
        name: str | None = None,
        marked: str = "",
        message: str | None = None,
        created_at: datetime | None = None,
    ) -> Snapshot:
        """Make a snapshot from an answer's fields; `marked` is the text that may contain our marker."""
        status = self.status_map.get(word)
        withheld = self.http.withheld
        if withheld is not None:
            word, name = word if status is not None else "(withheld)", None
            message = withheld if message else None
        return Snapshot(
            remote_id=remote_id,
            status=status,
            provider_status=word,
            marker=find_marker(marked) if marked else None,
            identity=self.identity(item),
            created_at=created_at,
            message=clean(message) or None if message else None,
            name=clean(name) or None if name else None,
        )

    def shown(self, text: str) -> str:
        """Return an answer's free text, safe to show; empty if it may contain a secret we cannot redact."""
        return clean(text) if self.http.withheld is None else ""

    @classmethod
    def can(cls, call: str) -> bool:
        """Say whether this driver has the optional call."""
        return getattr(cls, call) is not getattr(Provider, call)

    @classmethod
    def matches(cls, run: Run, snapshot: Snapshot) -> bool:
        """Say whether `snapshot` is what `run` asked for: it has its marker and the same work."""
        return snapshot.marker == run.marker and cls.same_work(run, snapshot)

    @classmethod
    def same_work(cls, run: Run, snapshot: Snapshot) -> bool:
        """Compare the identifying fields that both have; one that a listing leaves out is ignored."""
        asked = cls.identity(run.spec)
        return all(snapshot.identity.get(key, value) == value for key, value in asked.items())


def marked(text: str, marker: str, *, space: str = " ") -> str:
    """Append `marker` to a text of the user's."""
    return f"{text}{space}{marker}" if text else marker


def asked_for(snapshot: Snapshot, remote_id: str) -> Snapshot:
    """Return the answer to a read of `remote_id`; raises `Misread` if it is about another one."""
    if snapshot.remote_id != remote_id:
        raise Misread("the answer describes a different fine-tune")
    return snapshot


def credential(secrets: Mapping[str, Secret], key: str, variables: Sequence[str]) -> Secret:
    """Return the credential under `key`; raises `Denied`, saying where to put one, if it is missing."""
    if key not in secrets:
        usual = " or ".join(variables)
        raise Denied(f'no credential: set {usual}, or {key} = {{ env = "…" }} in the account\'s table')
    return secrets[key]


def _at(item: JsonObject, path: str) -> Any:
    found: Any = item
    for key in path.split("."):
        found = found.get(key) if isinstance(found, Mapping) else None
    return found
