"""`orchestrator audit`."""

import click

from orchestrator.app.audit import AuditDocument, Finding, audit, end, require_accounts, stranger
from orchestrator.app.cancel import How
from orchestrator.cli import _exit
from orchestrator.cli._app import App, app, run
from orchestrator.cli._ask import confirm
from orchestrator.cli._engine import opened
from orchestrator.cli._table import Column
from orchestrator.cli._text import count as number
from orchestrator.cli._text import plain
from orchestrator.worker.engine import Engine

COLUMNS = (
    Column("account", cut=True),
    Column("what"),
    Column("id", wrap=True),
    Column("status", wide=True),
    Column("whose", wide=True),
    Column("job", wide=True),
    Column("name", wide=True),
    Column("to do", wrap=True),
)


@click.command("audit")
@click.argument("accounts", nargs=-1, metavar="[ACCOUNT]...")
@click.option("--cancel", "cancel_id", metavar="ID", help="Cancel this unknown fine-tune.")
@click.option("--delete", "delete_id", metavar="ID", help="Delete this unknown fine-tune.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@app
def command(
    app: App, *, accounts: tuple[str, ...], cancel_id: str | None, delete_id: str | None, yes: bool
) -> int:
    """List what each account holds that belongs to no job: fine-tunes and datasets.

    Reads every account to the end and changes nothing, unless told to cancel or delete one. What belongs
    to a job is taken over with `orchestrator import JOB ID`. Datasets are only shown.
    """
    if cancel_id and delete_id:
        raise click.UsageError("use either --cancel ID or --delete ID")

    async def work() -> int:
        manifest = app.manifest()
        require_accounts(manifest, accounts)
        async with app.store(manifest.settings) as store, opened(app, manifest, store) as engine:
            found = await audit(engine, accounts)
            if cancel_id:
                return await _end(app, engine, found.document, cancel_id, "cancel", yes=yes)
            if delete_id:
                return await _end(app, engine, found.document, delete_id, "delete", yes=yes)
        _print(app, found.document)
        if not found.document.errors:
            return _exit.DONE
        return _exit.CREDENTIALS if found.denied else _exit.FAILED

    return run(work)


def _print(app: App, found: AuditDocument) -> None:
    app.listed(found, found.findings, _id)
    if app.output == "json":
        return
    if app.for_people and found.findings:
        app.rows(COLUMNS, [_row(one) for one in found.findings])
    for name, count in found.looked_at.items():
        strange = sum(1 for one in found.findings if one.account == name)
        left = {0: "nothing without a job", 1: "1 thing belongs to no job"}
        of_it = left.get(strange, f"{strange} things belong to no job")
        app.say(f"{name}: read {number(count, 'fine-tune')}, {of_it}")
    for name, message in found.errors.items():
        app.say(f"{name}: could not be read to the end: {plain(message)}")


def _id(finding: Finding) -> str:
    return finding.id


def _row(one: Finding) -> tuple[object, ...]:
    return (one.account, one.what, one.id, one.status, one.whose, one.job, one.name, one.to_do)


async def _end(app: App, engine: Engine, found: AuditDocument, remote_id: str, how: How, *, yes: bool) -> int:
    finding = await stranger(engine, found, remote_id, how)
    what = f"{finding.whose}, {plain(finding.name)}, {plain(finding.status)}"
    question = f"{how.capitalize()} {remote_id} of {finding.account} ({what})?"
    if not await confirm(app, question, yes=yes):
        return _exit.DECLINED
    await end(engine, finding, how)
    app.say(f"{remote_id}: " + ("cancel requested" if how == "cancel" else "deleted"))
    return _exit.DONE
