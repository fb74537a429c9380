"""`orchestrator providers`."""

from typing import Any

import click

from orchestrator.app import report
from orchestrator.cli._app import App, app, run
from orchestrator.cli._table import Column
from orchestrator.cli._text import age, document, line, plain, until
from orchestrator.config.duration import show
from orchestrator.config.manifest import Manifest
from orchestrator.errors import SettingsError
from orchestrator.providers.base import Provider
from orchestrator.providers.registry import registry

KINDS = (
    Column("kind"),
    Column("create is paid", wrap=True),
    Column("marker in", wrap=True),
    Column("read one", wide=True),
    Column("cancel"),
    Column("delete"),
    Column("credentials", wrap=True),
)
ACCOUNTS = (
    Column("account", cut=True),
    Column("kind", wide=True),
    Column("state", state=True),
    Column("open"),
    Column("every"),
    Column("next look"),
    Column("confirmed"),
    Column("reason", wrap=True),
)


@click.command("providers")
@app
def command(app: App) -> int:
    """Show what each provider can do, and the state of the declared accounts."""

    async def work() -> int:
        kinds = [_kind(kind) for kind in registry().values()]
        accounts = await _accounts(app)
        if app.output == "json":
            app.out(document({"schema_version": 1, "kinds": kinds, "providers": accounts}))
        elif app.output in ("jsonl", "name"):
            for kind in kinds:
                app.out(line(kind) if app.output == "jsonl" else kind["kind"])
        else:
            _print(app, kinds, accounts)
        return 0

    return run(work)


async def _accounts(app: App) -> list[dict[str, Any]]:
    try:
        manifest = app.manifest()
    except SettingsError:
        return []  # no job file here: what providers can do is worth knowing all the same
    async with app.reading(manifest.settings) as store:
        now = await store.now()
        known = {account.name: account for account in await store.accounts.all()}
    return [_account(manifest, name, known.get(name), now) for name in manifest.accounts]


def _account(manifest: Manifest, name: str, account: Any, now: Any) -> dict[str, Any]:
    interval = manifest.poll_interval(name)
    nothing = {"provider": name, "kind": manifest.accounts[name].kind, "state": "idle", "open": 0}
    nothing |= {"poll_interval": show(interval), "next_poll_at": None}
    return nothing if account is None else report.provider(account, interval, now)


def _kind(kind: type[Provider]) -> dict[str, Any]:
    lifecycle = kind.lifecycle
    return {
        "kind": kind.kind,
        "title": kind.title,
        "create_is_paid": kind.facts.create_is_paid.value,
        "marker_field": kind.facts.marker_field.value,
        "get": kind.can("get"),
        "cancel": kind.can("cancel"),
        "delete": kind.can("delete"),
        "steps": list(kind.steps),
        "credentials": [name for names in kind.credentials.values() for name in names],
        "docs": kind.docs,
        "ended": lifecycle
        and {
            "date": lifecycle.ended.isoformat(),
            "message": lifecycle.message,
            "source": lifecycle.source,
        },
    }


def _print(app: App, kinds: list[dict[str, Any]], accounts: list[dict[str, Any]]) -> None:
    def yes(value: object) -> str:
        return "yes" if value else "no"

    rows = [
        (
            kind["kind"],
            yes(kind["create_is_paid"]),
            kind["marker_field"],
            yes(kind["get"]),
            yes(kind["cancel"]),
            yes(kind["delete"]),
            " ".join(kind["credentials"]),
        )
        for kind in kinds
    ]
    app.rows(KINDS, rows)
    for kind in kinds:
        if kind["ended"]:
            app.say(f"warning: {kind['kind']}: {kind['ended']['message']} ({kind['ended']['source']})")
    if accounts:
        app.out("")
        standing = [
            (
                account["provider"],
                account["kind"],
                account["state"],
                account["open"],
                account["poll_interval"],
                until(account["next_poll_at"]),
                age(account.get("confirmed_at")),
                plain(account.get("reason")),
            )
            for account in accounts
        ]
        app.rows(ACCOUNTS, standing)
