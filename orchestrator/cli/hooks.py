"""`orchestrator hooks`."""

from datetime import timedelta

import click

from orchestrator.app.history import DeliveriesDocument, DeliveryDocument, delivery
from orchestrator.app.hook_explain import AudienceDocument, Happened, Outlook
from orchestrator.app.hook_explain import explain as audience
from orchestrator.app.hook_test import trial
from orchestrator.app.redeliver import undeclared
from orchestrator.app.status import hooks as all_hooks
from orchestrator.cli import _exit
from orchestrator.cli._app import App, app, at_once, run
from orchestrator.cli._hooks_again import drop, redeliver
from orchestrator.cli._table import Column
from orchestrator.cli._text import age, plain, until
from orchestrator.cli.status import hook_note
from orchestrator.config.duration import show
from orchestrator.core.delivery import Delivery
from orchestrator.core.event import EventType
from orchestrator.hooks.base import Hook, Preview
from orchestrator.hooks.webhook import make_secret

DELIVERIES = (
    Column("id", wide=True),
    Column("hook", cut=True),
    Column("event"),
    Column("job", cut=True),
    Column("state", state=True),
    Column("attempts", wide=True),
    Column("when"),
    Column("last answer", wrap=True),
)
HEARD = (
    Column("when"),
    Column("event"),
    Column("hook", cut=True),
    Column("state"),
    Column("why", wrap=True),
)


@click.group("hooks")
def command() -> None:
    """Test hooks, see deliveries, send them again, make a secret."""


command.add_command(redeliver)
command.add_command(drop)


@command.command("secret")
def secret() -> None:
    """Print a new signing secret for a webhook."""
    click.echo(make_secret())


@command.command("test")
@click.argument("name")
@click.option(
    "--event",
    type=click.Choice([str(event) for event in EventType]),
    default="job.succeeded",
    show_default=True,
    metavar="EVENT",
    help="The example's event: job.failed, provider.paused, …",
)
@click.option("--dry-run", is_flag=True, help="Send nothing; print exactly what would be sent.")
@app
def test(app: App, *, name: str, event: str, dry_run: bool) -> int:
    """Send a hook an example, marked as a test, and say what it answered."""

    show = app.say if app.sandbox and not app.with_hooks else None

    async def work() -> int:
        async with trial(app.manifest(), name, EventType(event), show=show) as (hook, made):
            return await (_show(app, hook, made) if dry_run else _send(app, hook, made))

    return run(work)


async def _send(app: App, hook: Hook, made: Delivery) -> int:
    await hook.check()
    answer = await hook.send(made)
    app.say(f"{made.hook}: delivered {made.id}" + (f": {plain(answer)}" if answer else ""))
    return _exit.DONE


async def _show(app: App, hook: Hook, made: Delivery) -> int:
    preview: Preview = await hook.preview(made)
    body = preview.body.decode("utf-8", "replace")
    if app.output in ("json", "jsonl"):
        app.document({"hook": made.hook, "id": made.id, "head": list(preview.head), "body": body})
    else:
        app.out("\n".join((*preview.head, "", body)))
    return _exit.DONE


@command.command("log")
@click.option("--hook", help="Only this hook's.")
@click.option(
    "--limit",
    type=click.IntRange(1, 10_000),
    default=1000,
    show_default=True,
    help="At most this many, the latest.",
)
@app
def log(app: App, *, hook: str | None, limit: int) -> int:
    """List deliveries, oldest first: sent, waiting, dead; and say which hooks are in trouble."""

    with app.reading(app.settings()) as store:
        found = at_once(store.outbox.log(hook=hook, most=limit))
        hooks = at_once(all_hooks(store))
    if hook is not None and not found and hook not in {each.hook for each in hooks}:
        declared = app.manifest()
        if hook not in declared.hooks:
            raise undeclared(hook, declared, [each.hook for each in hooks])
    whole = DeliveriesDocument(deliveries=tuple(delivery(one) for one in found))
    if app.listed(whole, whole.deliveries, _id):
        pass
    elif found:
        app.rows(DELIVERIES, [_row(one) for one in found])
    else:
        app.say("No delivery yet.")
    for each in hooks:
        if each.state != "ok" and hook in (None, each.hook):
            app.say(hook_note(each))
    return _exit.DONE


def _id(delivery: DeliveryDocument) -> str:
    return delivery.id


def _row(one: Delivery) -> tuple[object, ...]:
    return (one.id, one.hook, one.event, one.job, one.state, one.attempts, _when(one), one.last_error)


def _when(delivery: Delivery) -> str:
    if delivery.settled_at is not None:
        return f"{age(delivery.settled_at)} ago"
    if delivery.owner is not None:
        return "under way"
    due = until(delivery.due_at)
    return "due now" if due == "now" else f"due in {due}"


@command.command("explain")
@click.argument("job")
@app
def explain(app: App, *, job: str) -> int:
    """Say which hooks a job notifies, which got each event, and why or why not."""

    manifest = app.manifest()
    with app.reading(manifest.settings) as store:
        found = at_once(audience(store, manifest, job))
    if app.output == "name":
        app.out("\n".join(one.hook for one in found.hooks if one.hears))
    elif not app.listed(found, found.events, _event_id):
        _print(app, found)
    return _exit.DONE


def _event_id(event: Happened) -> int | None:
    return event.id


def _print(app: App, found: AudienceDocument) -> None:
    outlook = [(one.hook, *_outlook(one)) for one in found.hooks]
    if outlook:
        app.rows(
            (Column("hook", cut=True), Column("hears"), Column("events, or why none", wrap=True)), outlook
        )
    else:
        app.say("No hook is declared.")
    rows = [
        (event.timestamp, event.type, one.hook, one.state or "not told", one.reason)
        for event in found.events
        for one in event.hooks
    ]
    if rows:
        app.out("")
        app.rows(HEARD, rows)


def _outlook(hook: Outlook) -> tuple[str, str]:
    if not hook.hears:
        return "no", hook.reason or "its events include none that jobs send"
    if hook.off:
        return "off", hook.off
    lasting = f", if it lasts {show(timedelta(seconds=hook.for_))}" if hook.for_ else ""
    return "yes", ", ".join(hook.hears) + lasting
