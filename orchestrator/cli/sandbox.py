"""`orchestrator sandbox`."""

import sys
from pathlib import Path

import click

from orchestrator.app.rehearsal import PATHS
from orchestrator.cli import _exit
from orchestrator.cli._app import App, app, run
from orchestrator.errors import SettingsError
from orchestrator.sandbox import Options, serve


@click.command("sandbox")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8790, show_default=True, help="0 takes a free one."
)
@click.option("--state", type=click.Path(path_type=Path), help="A file that keeps all state across restarts.")
@click.option(
    "--stage-seconds", type=float, default=2.0, show_default=True, help="How long a job stays in each status."
)
@click.option("--latency-ms", type=float, default=0.0, show_default=True, help="How long each answer takes.")
@click.option(
    "--clock",
    type=click.Choice(["wall", "manual"]),
    default="wall",
    show_default=True,
    help="The clock of the jobs; manual: POST /_sandbox/advance moves it.",
)
@app
def command(
    app: App, *, port: int, state: Path | None, stage_seconds: float, latency_ms: float, clock: str
) -> int:
    """Serve the emulated providers at http://127.0.0.1:PORT/{cartesia,oxen,cloudflare/client/v4,cohere}.

    Any key is accepted. GET /_sandbox/ledger shows what was asked, made and paid; POST /_sandbox/faults
    makes it misbehave. It listens on loopback only.
    """

    async def work() -> int:
        try:
            options = Options(stage_seconds=stage_seconds, latency_ms=latency_ms, clock=clock)
            await serve(port=port, state=state, options=options, ready=ready)
        except ValueError as error:
            raise SettingsError(str(error)) from error
        except OSError as error:
            raise SettingsError(
                f"the sandbox cannot listen on port {port}: {error.strerror or error}",
                hint="--port 0 takes a free one",
            ) from error
        return _exit.DONE

    def ready(port: int) -> None:
        url = f"http://127.0.0.1:{port}"
        app.out(f"sandbox at {url}")
        sys.stdout.flush()
        app.say("Point an account at it in its table:")
        for kind, path in PATHS.items():
            app.say(f'  [providers.{kind}]{" " * (10 - len(kind))} base_url = "{url}/{path}"')

    return run(work)
