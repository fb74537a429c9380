"""`orchestrator hooks redeliver` and `hooks drop`."""

from collections.abc import Iterable, Sequence
from datetime import timedelta

import click

from orchestrator.cli._app import App, app, run
from orchestrator.cli._ask import confirm
from orchestrator.cli._duration import DURATION
from orchestrator.cli._text import document, line
from orchestrator.config.manifest import Manifest
from orchestrator.errors import UnknownName, UsageError, near
from orchestrator.store.commit import Routing
from orchestrator.store.replay import Choice
from orchestrator.store.store import Store

DECLINED = 3


@click.command("redeliver")
@click.argument("delivery", metavar="[ID]", required=False)
@click.option("--dead", is_flag=True, help="All deliveries that were given up.")
@click.option(
    "--since", type=DURATION, help="All since this long ago, such as 2d; with --hook also what it missed."
)
@click.option("--hook", help="Only this hook's; given alone: send what waits for it now.")
@click.option("--to", "heir", help="Send what waits for --hook to this hook instead.")
@click.option("--new-id", is_flag=True, help="Use new ids, for receivers that skip what they have seen.")
@app
def redeliver(
    app: App,
    *,
    delivery: str | None,
    dead: bool,
    since: float | None,
    hook: str | None,
    heir: str | None,
    new_id: bool,
) -> int:
    """Send deliveries again, oldest first: the same bytes under the same id.

    This also switches a hook on again that was switched off.
    """
    _check(delivery, dead=dead, since=since, hook=hook, heir=heir)
    length = None if since is None else timedelta(seconds=since)
    choice = Choice(id=delivery, hook=hook, dead=dead, since=length)

    async def work() -> int:
        manifest = app.manifest()
        async with app.store(manifest.settings) as store:
            if heir is not None:
                return await _hand_over(app, store, manifest, hook or "", heir)
            filled = 0
            if length is not None and hook is not None and not dead:
                filled = await _fill(store, manifest, hook, length)
            if hook is not None:
                await _known(store, manifest, hook)
            found = await store.replay.again(choice, new_id=new_id)
            if delivery is not None and not found:
                hint = "orchestrator hooks log"
                raise UsageError(f"no such delivery: {delivery}; or it is being sent right now", hint=hint)
            _print(app, found, filled)
            await _tell(app, store)
        return 0

    return run(work)


def _check(
    delivery: str | None, *, dead: bool, since: float | None, hook: str | None, heir: str | None
) -> None:
    many = dead or since is not None
    if delivery is None and not many and hook is None:
        raise click.UsageError("Say what to send again: an ID, --dead, --since D or --hook NAME.")
    if delivery is not None and (many or hook is not None):
        raise click.UsageError("An ID cannot be combined with other options.")
    if heir is not None and (hook is None or many):
        raise click.UsageError("--to needs --hook, and no other option.")


def undeclared(hook: str, manifest: Manifest, gone: Iterable[str] = (), *, also: str = "") -> UnknownName:
    """Say that no file declares a hook, and which one may have been meant; `gone` are those of earlier."""
    known = ", ".join(manifest.hooks) or "none"
    message = f"no job file declares a hook {hook}{also}"
    return UnknownName(message, hook, [*manifest.hooks, *gone], hint=f"declared: {known}")


async def _known(store: Store, manifest: Manifest, hook: str) -> None:
    if hook not in manifest.hooks and not await store.outbox.log(hook=hook, most=1):
        raise undeclared(hook, manifest, also=", and none was ever notified")


async def _fill(store: Store, manifest: Manifest, hook: str, since: timedelta) -> int:
    if hook not in manifest.hooks:
        raise undeclared(hook, manifest)
    routing = Routing(hooks=manifest.routes(), account_hooks=manifest.settings.hooks)
    jobs = {name: job.policy.hooks for name, job in manifest.jobs.items()}
    return await store.replay.fill(hook, since, routing, jobs)


async def _hand_over(app: App, store: Store, manifest: Manifest, hook: str, heir: str) -> int:
    if heir not in manifest.hooks:
        raise undeclared(heir, manifest)
    count = await store.replay.hand_over(hook, heir)
    app.say(f"{count} that waited for {hook} will go to {heir}.")
    await _tell(app, store)
    return 0


def _print(app: App, found: Sequence[tuple[str, str]], filled: int) -> None:
    if app.output == "json":
        shown = [{"id": one, "hook": hook} for one, hook in found]
        app.out(document({"schema_version": 1, "redelivered": shown, "filled": filled}))
    elif app.output in ("jsonl", "name"):
        for one, hook in found:
            app.out(line({"id": one, "hook": hook}) if app.output == "jsonl" else one)
    again = len(found) - filled
    app.say(f"{again} to send again" + (f", {filled} that were missed." if filled else "."))


async def _tell(app: App, store: Store) -> None:
    if not await app.daemon_runs(store):
        app.say("No daemon is running to send them: orchestrator up")


@click.command("drop")
@click.argument("hook")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@app
def drop(app: App, *, hook: str, yes: bool) -> int:
    """Give up what waits for a hook, such as one removed from the files; the log keeps it as dropped."""

    async def work() -> int:
        async with app.store(app.settings()) as store:
            waiting = {one.hearing.name: one.waiting for one in await store.hearings.all()}
            if not waiting.get(hook):
                meant = None if hook in waiting else near(hook, waiting)
                app.say(f"Nothing waits for {hook}" + (f", {meant}" if meant else "."))
                return 0
            if not await confirm(app, f"Give up {waiting[hook]} deliveries to {hook}?", yes=yes):
                return DECLINED
            count = await store.replay.drop(hook)
            app.say(f"{count} dropped.")
        return 0

    return run(work)
