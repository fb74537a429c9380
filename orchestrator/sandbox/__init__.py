"""The four providers emulated over real HTTP, with a ledger of all requests and a fault switchboard."""

from collections.abc import Callable
from pathlib import Path

from orchestrator.sandbox.child import Child, spawn, start
from orchestrator.sandbox.options import Options

__all__ = ["Child", "Options", "serve", "spawn", "start"]


async def serve(
    *,
    host: str = "127.0.0.1",
    port: int,
    state: Path | None,
    options: Options,
    ready: Callable[[int], None],
) -> None:
    """Serve until cancelled; `ready` gets the real port. Raises OSError when port or state is in use."""
    # Imported here so that starting a sandbox as a child does not load the server into the parent.
    from orchestrator.sandbox import server

    await server.serve(host=host, port=port, state=state, options=options, ready=ready)
