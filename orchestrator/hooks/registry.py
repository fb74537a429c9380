"""Which kinds of hook are installed."""

from collections.abc import Mapping
from functools import cache
from importlib.metadata import entry_points
from typing import Final

from orchestrator.hooks.base import Hook

GROUP: Final = "orchestrator.hooks"


@cache
def registry() -> Mapping[str, type[Hook]]:
    """Return every installed hook kind by name."""
    return {point.name: point.load() for point in sorted(entry_points(group=GROUP), key=lambda p: p.name)}
