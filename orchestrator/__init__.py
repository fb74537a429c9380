"""Declare hosted fine-tunes in TOML files; never buy one twice, never lose one, always hear of it."""

import importlib
from typing import Any

__version__ = "0.1.0"
__all__ = ["Orchestrator", "__version__", "late"]


def late(module: str) -> Any:
    """Load a module of the package that only some callers need, since it is slow to load."""
    return importlib.import_module(f"orchestrator.{module}")


def __getattr__(name: str) -> Any:
    if name == "Orchestrator":
        return late("client").Orchestrator
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
