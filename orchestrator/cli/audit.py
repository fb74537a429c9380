"""`orchestrator audit`."""

from dataclasses import asdict

import click

from orchestrator.app.audit import Audit, audit
from orchestrator.cli._app import App, app, run
from orchestrator.cli._ask import confirm
from orchestrator.cli._table import Column
from orchestrator.cli._text import count as number
from orchestrator.cli._text import document, line, plain
from orchestrator.errors import Denied, UnknownName, UsageError
from orchestrator.worker.engine import Engine

DECLINED = 3
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
        strange = [name for name in accounts if name not in manifest.accounts]
        if strange:
            message, hint = f"no account {strange[0]}", "declared: " + ", ".join(manifest.accounts)
            raise UnknownName(message, strange[0], manifest.accounts, hint=hint)
        async with app.store(manifest.settings) as store, app.engine(manifest, store) as engine:
            found = await audit(engine, accounts or tuple(engine.manifest.accounts))
            if cancel_id or delete_id:
                return await _end(app, engine, found, cancel_id or delete_id or "", cancel_id, yes=yes)
        _print(app, found)
        return _code(found)

    return run(work)


def _code(found: Audit) -> int:
    if not found.errors:
        return 0
    return 4 if all(isinstance(error, Denied) for error in found.errors.values()) else 1


def _print(app: App, found: Audit) -> None:
    errors = {name: error.message for name, error in found.errors.items()}
    if app.output == "json":
        findings = [asdict(finding) for finding in found.findings]
        app.out(
            document(
                {
                    "schema_version": 1,
                    "findings": findings,
                    "looked_at": dict(found.looked_at),
                    "errors": errors,
                }
            )
        )
        return
    for finding in found.findings:
        if app.output in ("jsonl", "name"):
            app.out(line(asdict(finding)) if app.output == "jsonl" else finding.id)
    if app.for_people and found.findings:
        rows = [
            (one.account, one.what, one.id, one.status, one.whose, one.job, one.name, one.to_do)
            for one in found.findings
        ]
        app.rows(COLUMNS, rows)
    for name, count in found.looked_at.items():
        strange = sum(1 for one in found.findings if one.account == name)
        left = {0: "nothing without a job", 1: "1 thing belongs to no job"}
        of_it = left.get(strange, f"{strange} things belong to no job")
        app.say(f"{name}: read {number(count, 'fine-tune')}, {of_it}")
    for name, message in errors.items():
        app.say(f"{name}: could not be read to the end: {plain(message)}")


async def _end(
    app: App, engine: Engine, found: Audit, remote_id: str, cancel_id: str | None, *, yes: bool
) -> int:
    finding = next((one for one in found.findings if one.id == remote_id), None)
    if finding is None:
        raise UsageError(
            f"{remote_id} is not in the list of what belongs to no job", hint="orchestrator audit"
        )
    if finding.what == "dataset":
        raise UsageError(f"{remote_id} is a dataset", hint=f"delete it in the console of {finding.account}")
    how = "cancel" if cancel_id else "delete"
    worker = await engine.worker(finding.account)
    if not worker.provider.can(how):
        raise UsageError(f"{worker.provider.title} has no {how} for a fine-tune")
    what = f"{finding.whose}, {plain(finding.name)}, {plain(finding.status)}"
    question = f"{how.capitalize()} {remote_id} of {finding.account} ({what})?"
    if not await confirm(app, question, yes=yes):
        return DECLINED
    await (worker.provider.cancel if cancel_id else worker.provider.delete)(remote_id)
    app.say(f"{remote_id}: " + ("cancel requested" if cancel_id else "deleted"))
    return 0
