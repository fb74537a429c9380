"""What each provider can do, and how the declared accounts stand."""

from dataclasses import dataclass

from orchestrator.app import status
from orchestrator.app.documents import Document, ProviderDocument, Whole
from orchestrator.config.manifest import Manifest
from orchestrator.providers.base import Provider
from orchestrator.providers.registry import registry
from orchestrator.store.accounts import Account
from orchestrator.store.store import Store


@dataclass(frozen=True, kw_only=True)
class Ended(Document):
    """A service that its provider has ended."""

    date: str
    message: str
    source: str


@dataclass(frozen=True, kw_only=True)
class KindDocument(Document):
    """What one kind of provider can do."""

    kind: str
    title: str
    create_is_paid: bool
    marker_field: str | None
    get: bool
    cancel: bool
    delete: bool
    steps: tuple[str, ...]
    credentials: tuple[str, ...]
    docs: str
    ended: Ended | None


@dataclass(frozen=True, kw_only=True)
class ProvidersDocument(Whole):
    """Every kind that is installed, and every account that the files declare."""

    kinds: tuple[KindDocument, ...]
    providers: tuple[ProviderDocument, ...]


def kinds() -> tuple[KindDocument, ...]:
    """Return what each installed kind can do."""
    return tuple(_kind(kind) for kind in registry().values())


def _kind(kind: type[Provider]) -> KindDocument:
    end = kind.lifecycle
    return KindDocument(
        kind=kind.kind,
        title=kind.title,
        create_is_paid=kind.facts.create_is_paid.value,
        marker_field=kind.facts.marker_field.value,
        get=kind.can("get"),
        cancel=kind.can("cancel"),
        delete=kind.can("delete"),
        steps=kind.steps,
        credentials=tuple(name for names in kind.credentials.values() for name in names),
        docs=kind.docs,
        ended=None
        if end is None
        else Ended(date=end.ended.isoformat(), message=end.message, source=end.source),
    )


async def accounts(store: Store, manifest: Manifest) -> tuple[ProviderDocument, ...]:
    """Return the declared accounts; one that was never used is idle."""
    now = await store.now()
    known = {account.name: account for account in await store.accounts.all()}
    return tuple(
        status.provider(
            known.get(name) or Account(name=name, kind=options.kind), manifest.poll_interval(name), now
        )
        for name, options in manifest.accounts.items()
    )
