"""What a person should see before a fine-tune is taken in."""

from collections.abc import Mapping

from orchestrator.cli._app import App
from orchestrator.cli._text import plain


def differences(app: App, declared: Mapping[str, object], there: Mapping[str, object]) -> None:
    """Say where what the provider has is not what was asked for."""
    for key, value in there.items():
        if key in declared and declared[key] != value:
            app.say(f"  {key} differs: declared {plain(declared[key])}, at the provider {plain(value)}")
