"""What a provider is to the rest of the program: one class for each, and the values it speaks in."""

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
class SecretResolver:
    """Where secrets come from: paths start at `root`, variables stand in `env`."""

    root: Path
    env: Mapping[str, str]

    async def resolve(self, reference: SecretRef) -> Secret:
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
    """One provider's API for one account; `create` and `list` are a must, the rest where it has them."""

    kind: ClassVar[str]
    title: ClassVar[str]
    base_url: ClassVar[str]
    docs: ClassVar[str]
    credentials: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    """Keys of `Options` that hold a secret, and the variables that may stand in for each, in order."""
    headers: ClassVar[Mapping[str, str]] = {}
    """What every request says beside its credentials."""
    upload_origins: ClassVar[tuple[str, ...]] = ()
    """Where else files may be sent, such as `https://*.r2.cloudflarestorage.com`."""
    refusals: ClassVar[Mapping[str, type[ProviderError]]] = {}
    """What an error's own name says of a create, where the number of the answer does not say it."""
    Options: ClassVar[type[AccountOptions]] = AccountOptions
    Spec: ClassVar[type[Spec]]
    identity_fields: ClassVar[tuple[str, ...]] = ()
    """Dotted paths of the fields of a spec that a listing repeats and that name the work."""
    status_map: ClassVar[Mapping[str, Status]]
    """What each of its status words means; one that is not here changes nothing, and is shown."""
    facts: ClassVar[Facts] = Facts()
    steps: ClassVar[tuple[str, ...]] = ()
    """The calls after create, in order, before the work is really under way."""
    drafts: ClassVar[frozenset[str]] = frozenset()
    """The status words for what waits for its next step: nothing is at work on it, nothing is paid for."""
    lifecycle: ClassVar[Lifecycle | None] = None

    def __init__(self, http: Http, options: AccountOptions, secrets: SecretResolver) -> None:
        if not isinstance(options, self.Options):
            raise TypeError(f"not the options of {self.title}")
        self.http = http
        self.options = options
        self.secrets = secrets

    async def close(self) -> None:
        """Let go of the connections."""
        await self.http.close()

    @classmethod
    def auth(cls, options: AccountOptions, secrets: Mapping[str, Secret]) -> httpx.Auth:
        """Return what each request shows whose it is by; `secrets` holds each credential found, by its key.

        Raises `Denied` where none of the accepted credentials is there, and names them.
        """
        return Bearer(credential(secrets, "api_key", cls.credentials["api_key"]))

    @classmethod
    def doubt(cls, spec: JsonObject) -> str | None:
        """Say why the provider's own service may refuse a valid `spec`, and where that is written."""
        return None

    @classmethod
    def identity(cls, item: JsonObject) -> Mapping[str, Any]:
        """Return the fields that name the work, as far as a spec, or what a listing shows, has them."""
        found = ((path, _at(item, path)) for path in cls.identity_fields)
        return {path: value for path, value in found if value is not None}

    @abstractmethod
    async def create(self, request: Request[Any]) -> Snapshot:
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

    async def request(self, run: Run) -> Request[Any]:
        """Resolve `run` into what `create` takes; raises `Denied` where a secret leads nowhere.

        Raises `Rejected` where its spec, stored by an older release, is not one of this release.
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
        """Put in our words what the provider says of one fine-tune; `marked` is the text with its marker."""
        status = self.status_map.get(word)
        return Snapshot(
            remote_id=remote_id,
            status=status,
            provider_status=word if status is not None or self.http.withheld is None else "(withheld)",
            marker=find_marker(marked),
            identity=self.identity(item),
            created_at=created_at,
            message=(self.http.withheld or self.shown(message)) if message else None,
            name=self.shown(name or "") or None,
        )

    def shown(self, text: str) -> str:
        """Return free text of an answer as it may be shown: nothing where an unknown secret may be in it."""
        return clean(text) if self.http.withheld is None else ""

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
        asked = cls.identity(run.spec)
        return all(snapshot.identity.get(key, value) == value for key, value in asked.items())


def marked(text: str, marker: str, *, space: str = " ") -> str:
    """Put `marker` at the end of a text field that stays the user's."""
    return f"{text}{space}{marker}" if text else marker


def asked_for(snapshot: Snapshot, remote_id: str) -> Snapshot:
    """Take the answer to a read of `remote_id`; one about another raises `Misread`."""
    if snapshot.remote_id != remote_id:
        raise Misread("the answer describes a different fine-tune")
    return snapshot


def credential(secrets: Mapping[str, Secret], key: str, variables: Sequence[str]) -> Secret:
    """Return the credential under `key`, or raise `Denied` and say where to put one."""
    if key not in secrets:
        usual = " or ".join(variables)
        raise Denied(f'no credential: set {usual}, or {key} = {{ env = "…" }} in the account\'s table')
    return secrets[key]


def _at(item: JsonObject, path: str) -> Any:
    found: Any = item
    for key in path.split("."):
        found = found.get(key) if isinstance(found, Mapping) else None
    return found
