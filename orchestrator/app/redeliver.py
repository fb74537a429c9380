"""Sending deliveries again, to their hook or to another, and giving up what waits for one."""

from collections.abc import Iterable
from dataclasses import dataclass

from orchestrator.app.documents import Document, Whole
from orchestrator.config.manifest import Manifest
from orchestrator.errors import UnknownName, UsageError
from orchestrator.store.commit import Routing
from orchestrator.store.replay import Choice
from orchestrator.store.store import Store


@dataclass(frozen=True, kw_only=True)
class Again(Document):
    """A delivery that is sent again."""

    id: str
    hook: str


@dataclass(frozen=True, kw_only=True)
class RedeliveredDocument(Whole):
    """What is sent again, and how many of these a hook had missed altogether."""

    redelivered: tuple[Again, ...]
    filled: int


async def redeliver(
    store: Store, manifest: Manifest, choice: Choice, *, new_id: bool = False
) -> RedeliveredDocument:
    """Let what `choice` names be sent again; since a time, one hook also gets what it missed.

    Raises `UnknownName` for a hook that was never there, `UsageError` for a delivery that is not.
    """
    filled, hook = 0, choice.hook
    if choice.since is not None and hook is not None and not choice.dead:
        require_hook(manifest, hook)
        routing = Routing(hooks=manifest.routes(), account_hooks=manifest.settings.hooks)
        jobs = {name: job.policy.hooks for name, job in manifest.jobs.items()}
        filled = await store.replay.fill(hook, choice.since, routing, jobs)
    if hook is not None and hook not in manifest.hooks and not await store.outbox.log(hook=hook, most=1):
        raise undeclared(hook, manifest, also=", and none was ever notified")
    found = await store.replay.again(choice, new_id=new_id)
    if choice.id is not None and not found:
        hint = "orchestrator hooks log"
        raise UsageError(f"no such delivery: {choice.id}; or it is being sent right now", hint=hint)
    again = tuple(Again(id=delivery, hook=name) for delivery, name in found)
    return RedeliveredDocument(redelivered=again, filled=filled)


async def hand_over(store: Store, manifest: Manifest, hook: str, heir: str) -> int:
    """Send what waits for `hook` to `heir` instead, and return how many deliveries that are."""
    require_hook(manifest, heir)
    return await store.replay.hand_over(hook, heir)


def require_hook(manifest: Manifest, hook: str) -> None:
    """Raise `UnknownName` for a hook that no file declares."""
    if hook not in manifest.hooks:
        raise undeclared(hook, manifest)


def undeclared(hook: str, manifest: Manifest, gone: Iterable[str] = (), *, also: str = "") -> UnknownName:
    """Say that no file declares a hook, and which one may have been meant; `gone` are those of earlier."""
    known = ", ".join(manifest.hooks) or "none"
    message = f"no job file declares a hook {hook}{also}"
    return UnknownName(message, hook, [*manifest.hooks, *gone], hint=f"declared: {known}")
