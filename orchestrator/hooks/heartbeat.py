"""Pings an outside checker such as healthchecks.io, which raises the alarm when the pings stop."""

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Final

import anyio
import httpx
import structlog

from orchestrator import __version__
from orchestrator.config.secret import SecretRef, resolve
from orchestrator.errors import HookError, SecretError
from orchestrator.net.address import place_of
from orchestrator.net.exchange import Connections, Unanswered, Unsent
from orchestrator.net.tls import trust

log: structlog.stdlib.BoundLogger = structlog.get_logger("orchestrator.daemon")

DEADLINE: Final = timedelta(seconds=10)


async def ping(given: str | SecretRef, root: Path, env: Mapping[str, str]) -> bool:
    """Send one ping; its outcome is logged, its address never."""
    try:
        with anyio.fail_after(DEADLINE.total_seconds()):
            await _get(given if isinstance(given, str) else (await resolve(given, root, env)).reveal())
    except TimeoutError:
        log.warning("heartbeat.failed", error=f"no answer within {DEADLINE.total_seconds():g} s")
    except (HookError, SecretError) as error:
        log.warning("heartbeat.failed", error=error.message)
    except (Unsent, Unanswered) as error:
        log.warning("heartbeat.failed", error=type(error.__cause__).__name__)
    else:
        log.debug("heartbeat.sent")
        return True
    return False


async def _get(url: str) -> None:
    try:
        place = place_of(url.strip())
    except ValueError as error:
        raise HookError(f"the heartbeat's address {error}") from None
    connections = Connections(trust(system=True))
    try:
        request = httpx.Request("GET", place, headers={"user-agent": f"finetune-orchestrator/{__version__}"})
        answer = await connections.send([request], cap=lambda _: 0, alone=True)
    finally:
        await connections.aclose()
    if not 200 <= answer.status < 300:
        raise HookError(f"HTTP {answer.status}")
