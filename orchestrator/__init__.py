"""Declare hosted fine-tunes in TOML files; never buy one twice, never lose one, always hear of it."""

from typing import Any

__version__ = "0.1.0"
__all__ = ["Orchestrator", "__version__"]


def __getattr__(name: str) -> Any:
    if name == "Orchestrator":  # which the command line does without
        from orchestrator.client import Orchestrator

        return Orchestrator
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
