"""A sign of life for an outside checker (healthchecks.io's form): it misses us when we are dead."""

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
from orchestrator.hooks._post import trust

log: structlog.stdlib.BoundLogger = structlog.get_logger("orchestrator.daemon")

DEADLINE: Final = timedelta(seconds=10)


async def ping(given: str | SecretRef, root: Path, env: Mapping[str, str]) -> bool:
    """Say once that all is well; what comes of it is logged, and the address never is."""
    try:
        with anyio.fail_after(DEADLINE.total_seconds()):
            await _get(given if isinstance(given, str) else (await resolve(given, root, env)).reveal())
    except TimeoutError:
        log.warning("heartbeat.failed", error=f"no answer within {DEADLINE.total_seconds():g} s")
    except (HookError, SecretError) as error:
        log.warning("heartbeat.failed", error=error.message)
    except (httpx.HTTPError, OSError, anyio.BrokenResourceError) as error:
        log.warning("heartbeat.failed", error=type(error).__name__)
    else:
        log.debug("heartbeat.sent")
        return True
    return False


async def _get(url: str) -> None:
    try:
        place = httpx.URL(url.strip())
    except (httpx.InvalidURL, ValueError):
        raise HookError("the heartbeat is not a URL") from None
    if place.scheme not in ("http", "https") or not place.host:
        raise HookError("the heartbeat is not an http or https address")
    # A transport alone: no redirects, no proxies of the environment, and nothing logs the address.
    async with httpx.AsyncHTTPTransport(verify=trust(), trust_env=False) as transport:
        headers = {"host": place.netloc.decode("ascii"), "user-agent": f"finetune-orchestrator/{__version__}"}
        response = await transport.handle_async_request(httpx.Request("GET", place, headers=headers))
        code = response.status_code
        await response.aclose()
    if not 200 <= code < 300:
        raise HookError(f"HTTP {code}")
