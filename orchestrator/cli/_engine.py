"""What a command opens to change something: an engine, over the sandbox where that is asked for."""

from contextlib import AbstractAsyncContextManager

from orchestrator.app.opening import open_engine
from orchestrator.app.rehearsal import under
from orchestrator.cli._app import App
from orchestrator.config.manifest import Manifest
from orchestrator.store.store import Store
from orchestrator.worker.engine import Engine


def opened(
    app: App, manifest: Manifest, store: Store, *, prepared: bool = True
) -> AbstractAsyncContextManager[Engine]:
    """Open an engine on `manifest`."""
    return open_engine(
        manifest,
        store,
        sandbox=app.sandboxes.append if app.sandbox else None,
        prepared=prepared,
        with_hooks=app.with_hooks,
        show=app.say,
    )


def reload(app: App) -> Manifest:
    """Read the files again for an engine; the sandbox stays under every account."""
    manifest = app.manifest()
    for url in app.sandboxes:
        manifest, _ = under(manifest, url)
    return manifest
