"""`orchestrator demo`."""

import json
import os
import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path

import anyio
import click

from orchestrator.app.apply import apply
from orchestrator.app.plan import preview
from orchestrator.app.status import status
from orchestrator.cli import _exit
from orchestrator.cli._alone import daemon_lock
from orchestrator.cli._app import App, app, run
from orchestrator.cli._engine import opened, reload
from orchestrator.cli._follow import Following
from orchestrator.cli._receiver import Receiver, receiving
from orchestrator.cli._text import plain, plan_text
from orchestrator.cli.status import show
from orchestrator.core.run import Status
from orchestrator.daemon.daemon import Daemon
from orchestrator.errors import OrchestratorError
from orchestrator.hooks.webhook import make_secret
from orchestrator.store.store import Store
from orchestrator.worker.engine import Engine

HERE = Path(__file__).parent.parent
EXAMPLES = (HERE / "_example" / "jobs.example.toml", HERE.parent / "jobs.example.toml")
LONGEST_SECONDS = 50
FAILS = """
[jobs.narrator-broken]                # made to fail, so that you see what that looks like
provider = "cartesia"
[jobs.narrator-broken.spec]
description = "A voice that does not come out"
language = "en"
model_id = "sonic-3-2026-01-12"
dataset = "dataset_fail-me"
"""
EXPECTED = {
    "narrator-en": Status.SUCCEEDED,
    "support-chat": Status.SUCCEEDED,
    "intent-lora": Status.SUCCEEDED,
    "support-classifier": Status.SUCCEEDED,
    "narrator-broken": Status.FAILED,
}


@click.command("demo")
@click.option("--keep", is_flag=True, help="Keep the demo's folder, to look around in.")
@app
def command(app: App, *, keep: bool) -> int:
    """See everything work in one minute, with no account: plan, apply, poll, hooks.

    It runs the example's jobs against the built-in sandbox, in a folder of its own. Nothing is bought.
    """
    folder = Path(tempfile.mkdtemp(prefix="orchestrator-demo-"))
    secret = make_secret()
    # In this process alone, and before anything reads the settings.
    os.environ |= {
        "TEAM_HOOK_SECRET": secret,
        "ORCHESTRATOR_POLL_INTERVAL": "1s",
        "ORCHESTRATOR_SANDBOX_STAGE_SECONDS": "2",
    }
    for name in ("ORCHESTRATOR_FILE", "ORCHESTRATOR_DATABASE", "ORCHESTRATOR_PROJECT", "ORCHESTRATOR_HOOKS"):
        os.environ.pop(name, None)
    try:
        with receiving(secret) as receiver:
            _prepare(folder, receiver)
            inner = replace(
                app,
                files=(str(folder / "jobs.toml"),),
                directory=None,
                sandbox=True,
                with_hooks=True,
                tour=True,
            )
            return run(lambda: _show(inner, receiver))
    finally:
        if keep:
            app.say(f"The demo's folder is {folder}")
        else:
            _remove(folder)


def _prepare(folder: Path, receiver: Receiver) -> None:
    example = next(path for path in EXAMPLES if path.is_file()).read_text("utf-8")
    url = '"https://example.com/finetunes"'
    if url not in example:
        raise OrchestratorError("the example is not as the demo knows it")
    local = example.replace(url, f'"{receiver.url}"\nallow_private = true')
    # Each poll is a second apart here, so that the minute is enough.
    quick = local.replace('poll_interval = "10s"', 'poll_interval = "1s"')
    (folder / "jobs.toml").write_text(quick + FAILS, "utf-8")
    adapter = folder / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text(json.dumps({"model_type": "mistral", "r": 8}))
    (adapter / "adapter_model.safetensors").write_bytes(bytes(4096))
    script = folder / "promote.sh"
    script.write_text('#!/bin/sh\necho "promoted $ORCHESTRATOR_MODEL"\n')
    script.chmod(0o700)


def _remove(folder: Path) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
    folder.rmdir()


async def _show(app: App, receiver: Receiver) -> int:
    manifest = app.manifest()
    app.say(_title("Five jobs at four providers, emulated on this machine. Nothing is bought."))
    async with app.store(manifest.settings) as store:
        app.say(_title("$ orchestrator plan"))
        plan = await preview(store, manifest)
        app.say(plan_text(plan))
        app.say(_title("$ orchestrator apply --wait"))
        async with opened(app, manifest, store) as engine:
            await apply(engine, plan)
            with daemon_lock(store), anyio.move_on_after(LONGEST_SECONDS):
                await _until_settled(app, engine, store)
        app.say(_title("What the hooks received"))
        for kind, job in receiver.verified:
            app.say(f"  webhook  {kind:<14} {job}: signature verified")
        for delivery in await store.outbox.log(hook="promote"):
            app.say(f"  command  {delivery.event:<14} {delivery.job}: {plain(delivery.last_error)}")
        app.say(_title("$ orchestrator status"))
        standings = {one.record.name: one for one in await store.views.standings()}
        document = await status(store, manifest.settings)
        show(app, document, await store.outbox.unsettled(), await store.views.usual())
        found = {name: one.run.status for name, one in standings.items() if one.run is not None}
    return _end(app, found == EXPECTED and _heard(receiver))


async def _until_settled(app: App, engine: Engine, store: Store) -> None:
    daemon = Daemon(engine=engine, reload=partial(reload, app), reconciles=False, until_settled=True)
    following = Following(app, await store.views.usual(), again="orchestrator demo")

    async def follow() -> None:
        while True:
            following.show(await store.views.standings())
            await anyio.sleep(0.2)

    with following:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(follow)
            await daemon.run()
            tasks.cancel_scope.cancel()
        following.show(await store.views.standings())


def _heard(receiver: Receiver) -> bool:
    told = sorted(receiver.verified)
    return receiver.refused == 0 and told == sorted(
        (f"job.{status}", job) for job, status in EXPECTED.items()
    )


def _end(app: App, fine: bool) -> int:
    if not fine:
        app.say("\nThe demo did not end as it should: something is wrong with this installation.")
        return _exit.FAILED
    app.say(_title("Now your own:"))
    app.say("  orchestrator init                     writes a starter jobs.toml here")
    app.say("  orchestrator --sandbox apply --wait   tries it against the sandbox, as above")
    app.say("  orchestrator plan                     shows what it would really buy")
    return _exit.DONE


def _title(text: str) -> str:
    return "\n" + click.style(text, bold=True)
