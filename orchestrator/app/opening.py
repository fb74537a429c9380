"""Opening an engine: what is installed, and the local files beside the job files."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from orchestrator.config.manifest import Kinds, Manifest, ProviderKind
from orchestrator.hooks import registry as hooks
from orchestrator.providers import registry as providers
from orchestrator.store.file import prepare_file
from orchestrator.store.store import Store
from orchestrator.worker.engine import Engine
from orchestrator.worker.journal import Journal

JOURNAL = "replies.jsonl"


def kinds() -> Kinds:
    """Return the grammar of every provider and hook that is installed."""
    return Kinds(
        providers={
            name: ProviderKind(options=kind.Options, spec=kind.Spec)
            for name, kind in providers.registry().items()
        },
        hooks={name: kind.Options for name, kind in hooks.registry().items()},
    )


def state_folder(root: Path) -> Path:
    """Return where local state stands, beside the first file, and make it."""
    folder = root / ".orchestrator"
    prepare_file(folder / ".keep", below=root)
    return folder


@asynccontextmanager
async def open_engine(
    manifest: Manifest,
    store: Store,
    env: Mapping[str, str],
    *,
    journal: str = JOURNAL,
    prepared: bool = True,
    with_hooks: bool = False,
    show: Callable[[str], None] | None = None,
) -> AsyncIterator[Engine]:
    """Open an engine on `manifest` and `store`; all else is said in `Engine`.

    A daemon prepares it by itself, when the database answers.
    """
    written = Journal(state_folder(manifest.root) / journal)
    engine = Engine(store, manifest, written, env, with_hooks=with_hooks, show=show)
    if prepared:
        await engine.prepare()
    try:
        yield engine
    finally:
        await engine.close()
