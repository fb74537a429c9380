"""`orchestrator up`."""

import os
import signal
import sys
from functools import partial

import anyio
import click
import structlog

from orchestrator.app.plan import unasked
from orchestrator.app.settled import End, refusals
from orchestrator.cli import _exit
from orchestrator.cli._alone import daemon_lock
from orchestrator.cli._app import App, app, run
from orchestrator.cli._ask import confirm, on_terminal
from orchestrator.cli._duration import DURATION
from orchestrator.cli._engine import opened, reload
from orchestrator.cli._log import configure
from orchestrator.cli._text import changes_text, count
from orchestrator.cli._wait import CODES
from orchestrator.config.manifest import Manifest
from orchestrator.daemon.daemon import Daemon
from orchestrator.store.opening import daemon_runs
from orchestrator.store.store import Store
from orchestrator.web.app import create_app
from orchestrator.web.guard import Gate, guarded
from orchestrator.web.listen import Listener, listening
from orchestrator.web.server import serve

log: structlog.stdlib.BoundLogger = structlog.get_logger("orchestrator.daemon")


@click.command("up")
@click.option("--until-settled", is_flag=True, help="End when nothing is left to do.")
@click.option(
    "--timeout", type=DURATION, help="With --until-settled: stop after this long, with exit code 3."
)
@click.option("--no-apply", is_flag=True, help="Buy nothing new: leave it to `orchestrator apply`.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask before the first purchase.")
@app
def command(app: App, *, until_settled: bool, timeout: float | None, no_apply: bool, yes: bool) -> int:
    """Run the daemon, which buys what the job files declare, now and whenever they are saved.

    On a terminal it first shows what it would buy and asks once; no is the same as --no-apply. Then it
    submits, polls, fires hooks and serves the API.

    The first SIGINT or SIGTERM lets what is under way finish; the second ends at once.
    """
    configure(app.verbose, quiet=app.quiet, color=app.color_on(sys.stderr), daemon=True)
    signalled: list[int] = []
    daemon: Daemon | None = None
    asking = False

    def told(number: int) -> bool:
        signalled.append(number)
        if daemon is not None:
            if sys.stderr.isatty():
                click.echo(err=True)  # the terminal has shown ^C there
            log.info("daemon.draining", signal=signal.Signals(number).name)
            daemon.stop()
        return daemon is not None

    async def work() -> int:
        nonlocal asking, daemon
        manifest = app.manifest()
        async with app.store(manifest.settings, patient=True) as store:
            asking = on_terminal() and not (yes or no_apply)
            apply_new = not no_apply and (yes or await _agreed(app, store, manifest))
            asking = False
            with daemon_lock(store), listening(manifest.settings, os.environ) as listener:
                async with opened(app, manifest, store, prepared=False) as engine:
                    daemon = Daemon(
                        engine=engine,
                        reload=partial(reload, app),
                        apply_new=apply_new,
                        until_settled=until_settled,
                        serve=partial(_serve, listener=listener) if listener else None,
                        address=listener.url if listener else None,
                    )
                    return await _up(daemon, timeout)

    code = run(work, told=told)
    return _exit.DONE if signalled and not asking else code  # also where nothing was under way yet


async def _agreed(app: App, store: Store, manifest: Manifest) -> bool:
    """Show a person what would be bought without a further question; False keeps it for `apply`."""
    if not on_terminal():
        return True
    if await daemon_runs(store):
        with daemon_lock(store):  # names on SQLite who runs already, before anything is asked
            pass
    buys = await unasked(store, manifest)
    if not buys:
        app.say("Nothing to buy now. Whatever the job files declare later is bought without asking.")
        return True
    lines = [f"{count(len(buys), 'paid run')} that the job files ask for:", *changes_text(buys)]
    click.echo("\n".join(lines), err=True, color=app.color_on(sys.stderr))
    if await confirm(app, "Buy them, and later without asking what is saved to the files?", yes=False):
        return True
    app.say("New work waits for `orchestrator apply`.")
    return False


async def _serve(daemon: Daemon, *, listener: Listener) -> None:
    await serve(guarded(create_app(daemon.engine, daemon), Gate.of(listener)), listener)


async def _up(daemon: Daemon, timeout: float | None) -> int:
    late = False

    async def limit() -> None:
        nonlocal late
        if timeout is not None:
            await anyio.sleep(timeout)
            late = True
            daemon.stop()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(limit)
        await daemon.run()
        tasks.cancel_scope.cancel()
    if not daemon.until_settled:
        return _exit.DONE
    if late:
        return _exit.TOO_LONG
    if daemon.ended is End.DENIED:
        store = daemon.engine.store
        for name, why in (await refusals(store)).items():
            log.error("account.refused", account=name, error=why, message="only its runs are left; they wait")
    return _exit.DONE if daemon.ended is None else CODES[daemon.ended]
