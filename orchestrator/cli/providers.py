"""`orchestrator providers`."""

import click

from orchestrator.app.documents import ProviderDocument
from orchestrator.app.providers import KindDocument, ProvidersDocument, accounts, kinds
from orchestrator.cli import _exit
from orchestrator.cli._app import App, app, at_once
from orchestrator.cli._table import Column
from orchestrator.cli._text import age, plain, until
from orchestrator.errors import SettingsError

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
    Column("next poll"),
    Column("confirmed"),
    Column("reason", wrap=True),
)


@click.command("providers")
@app
def command(app: App) -> int:
    """Show what each provider can do, and the state of the declared accounts."""

    found = ProvidersDocument(kinds=kinds(), providers=_accounts(app))
    if not app.listed(found, found.kinds, _kind):
        _print(app, found)
    return _exit.DONE


def _accounts(app: App) -> tuple[ProviderDocument, ...]:
    try:
        manifest = app.manifest()
    except SettingsError:
        return ()  # no job file here: what providers can do is worth knowing all the same
    with app.reading(manifest.settings) as store:
        return at_once(accounts(store, manifest))


def _kind(kind: KindDocument) -> str:
    return kind.kind


def _print(app: App, found: ProvidersDocument) -> None:
    app.rows(KINDS, [_can(kind) for kind in found.kinds])
    for kind in found.kinds:
        if kind.ended:
            app.say(f"warning: {kind.kind}: {kind.ended.message} ({kind.ended.source})")
    if found.providers:
        app.out("")
        app.rows(ACCOUNTS, [_stands(account) for account in found.providers])


def _can(kind: KindDocument) -> tuple[object, ...]:
    return (
        kind.kind,
        _yes(kind.create_is_paid),
        kind.marker_field,
        _yes(kind.get),
        _yes(kind.cancel),
        _yes(kind.delete),
        " ".join(kind.credentials),
    )


def _yes(value: object) -> str:
    return "yes" if value else "no"


def _stands(account: ProviderDocument) -> tuple[object, ...]:
    return (
        account.provider,
        account.kind,
        account.state,
        account.open,
        account.poll_interval,
        until(account.next_poll_at),
        age(account.confirmed_at),
        plain(account.reason),
    )
