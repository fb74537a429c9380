"""Trying a hook with an example that is marked as a test."""

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from orchestrator.app.redeliver import require_hook
from orchestrator.config.manifest import Manifest
from orchestrator.config.secret import Dummies
from orchestrator.core.delivery import Delivery
from orchestrator.core.event import EventType
from orchestrator.errors import HookError, SecretError
from orchestrator.hooks.base import Hook
from orchestrator.hooks.example import example
from orchestrator.hooks.registry import registry
from orchestrator.hooks.shown import Shown
from orchestrator.store.commit import make_id


@asynccontextmanager
async def trial(
    manifest: Manifest, name: str, event: EventType, *, show: Callable[[str], None] | None = None
) -> AsyncIterator[tuple[Hook, Delivery]]:
    """Give a hook and an example for it; raises `UnknownName` where no file declares it.

    With `show` no secret is read, and what would leave this machine is shown there. Errors of the hook and
    of its secrets inside the `with` name it.
    """
    require_hook(manifest, name)
    options = manifest.hooks[name]
    env = os.environ if show is None else Dummies()
    hook = registry()[options.kind](options, manifest.folder("hooks", name), env=env)
    if show is not None and not hook.local:
        hook = Shown(hook, show)
    project = manifest.settings.project
    try:
        yield hook, example(name, event, hook.now(), delivery_id=make_id("msg"), project=project)
    except (HookError, SecretError) as error:
        error.message = f"{name}: {error.message}"
        raise
    finally:
        await hook.aclose()
