"""`orchestrator config show`."""

from collections.abc import Mapping
from datetime import timedelta
from urllib.parse import urlsplit

import click

from orchestrator.cli import _exit
from orchestrator.cli._app import App, app
from orchestrator.cli._table import Column
from orchestrator.config.duration import show as length
from orchestrator.config.manifest import Settings
from orchestrator.config.secret import SecretRef
from orchestrator.config.settings import load_settings, origins_of_settings
from orchestrator.config.url import without_passwords


@click.group("config")
def command() -> None:
    """Show the settings in force."""


@command.command("show")
@app
def show(app: App) -> int:
    """Print every setting, where it comes from, and the files that were read."""
    settings = app.settings()
    values = {
        key: length(value) if isinstance(value, timedelta) else value
        for key, value in settings.model_dump().items()
    }
    values["database"] = without_passwords(settings.database)
    values["hooks"] = list(settings.hooks)
    values["heartbeat"] = _heartbeat(settings.heartbeat)
    files = [str(path) for path in app.find()]
    sources = _sources(app, settings)
    if app.output == "json":
        app.document({"files": files, "settings": values, "from": sources})
        return _exit.DONE
    rows = [(key, value, sources[key]) for key, value in values.items()]
    columns = (Column("setting"), Column("value", wrap=True), Column("from", wrap=True))
    app.rows(columns, [*rows, ("files", " ".join(files), "")])
    return _exit.DONE


def _heartbeat(given: str | SecretRef | None) -> str | None:
    """Show where it goes, not the rest: whoever has that can speak for us."""
    if isinstance(given, str):
        parts = urlsplit(given)
        return f"{parts.scheme}://{parts.hostname}/***"
    return None if given is None else "by reference"


def _sources(app: App, settings: Settings) -> Mapping[str, str]:
    """Say where each value in force comes from; some are the sandbox's own."""
    files = app.find()
    declared, _ = load_settings(files, app.env)
    origins = origins_of_settings(files, app.env)
    return {
        key: origin if getattr(settings, key) == getattr(declared, key) else "--sandbox"
        for key, origin in origins.items()
    }
