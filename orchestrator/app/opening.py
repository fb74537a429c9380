"""Opening an engine: over the real providers or the sandbox, with the local files beside the job files."""

import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from anyio import to_thread

from orchestrator.app.rehearsal import running, under
from orchestrator.config.manifest import Manifest
from orchestrator.store.file import prepare_file
from orchestrator.store.store import Store
from orchestrator.worker.engine import Engine
from orchestrator.worker.journal import Journal

JOURNAL = "replies.jsonl"


@asynccontextmanager
async def open_engine(
    manifest: Manifest,
    store: Store,
    env: Mapping[str, str] = os.environ,
    *,
    sandbox: Callable[[str], None] | None = None,
    prepared: bool = True,
    with_hooks: bool = False,
    show: Callable[[str], None] | None = None,
) -> AsyncIterator[Engine]:
    """Open an engine on `manifest` and `store`; `env` and the rest are as `Engine` has them.

    With `sandbox`, which is told its address, the emulated providers stand under every account. A daemon
    opens it unprepared, and prepares it by itself when the database answers.
    """
    folder = _state_folder(manifest.root)
    async with AsyncExitStack() as stack:
        journal = JOURNAL
        if sandbox is not None:
            url = await to_thread.run_sync(stack.enter_context, running(folder))
            sandbox(url)
            manifest, env = under(manifest, url)
            journal = f"sandbox-{JOURNAL}"
        engine = Engine(store, manifest, Journal(folder / journal), env, with_hooks=with_hooks, show=show)
        stack.push_async_callback(engine.close)
        if prepared:
            await engine.prepare()
        yield engine


def _state_folder(root: Path) -> Path:
    """Return where local state is kept, beside the first job file, and make it."""
    folder = root / ".orchestrator"
    prepare_file(folder / ".keep", below=root)
    return folder
