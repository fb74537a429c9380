"""`orchestrator hooks redeliver` and `hooks drop`."""

from datetime import timedelta

import click

from orchestrator.app.redeliver import Again, RedeliveredDocument, hand_over
from orchestrator.app.redeliver import redeliver as again
from orchestrator.cli import _exit
from orchestrator.cli._app import App, app, run
from orchestrator.cli._ask import confirm
from orchestrator.cli._duration import DURATION
from orchestrator.errors import near
from orchestrator.store.opening import daemon_runs
from orchestrator.store.replay import Choice


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
            if heir is not None and hook is not None:
                count = await hand_over(store, manifest, hook, heir)
                app.say(f"{count} that waited for {hook} will go to {heir}.")
            else:
                _print(app, await again(store, manifest, choice, new_id=new_id))
            if not await daemon_runs(store):
                app.say("No daemon is running to send them: orchestrator up")
        return _exit.DONE

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


def _print(app: App, found: RedeliveredDocument) -> None:
    app.listed(found, found.redelivered, _id)
    missed = f", {found.filled} that were missed." if found.filled else "."
    app.say(f"{len(found.redelivered) - found.filled} to send again{missed}")


def _id(again: Again) -> str:
    return again.id


@click.command("drop")
@click.argument("hook")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@app
def drop(app: App, *, hook: str, yes: bool) -> int:
    """Give up what waits for a hook, such as one removed from the files; the log keeps it as dropped."""

    async def work() -> int:
        async with app.store(app.settings()) as store:
            waiting = {one.health.name: one.waiting for one in await store.hooks.all()}
            if not waiting.get(hook):
                meant = None if hook in waiting else near(hook, waiting)
                app.say(f"Nothing waits for {hook}" + (f", {meant}" if meant else "."))
                return _exit.DONE
            if not await confirm(app, f"Give up {waiting[hook]} deliveries to {hook}?", yes=yes):
                return _exit.DECLINED
            count = await store.replay.drop(hook)
            app.say(f"{count} dropped.")
        return _exit.DONE

    return run(work)
