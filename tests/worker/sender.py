"""Runs as a process of its own: sends all that an outbox holds, as the daemon does, until it is killed.

Arguments: the database, the receiver, how many times as fast as the clock its time goes, and when that began.
"""

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio
import structlog

from orchestrator.hooks.webhook import Webhook, WebhookOptions
from orchestrator.store.database import Database
from orchestrator.store.owner import alive
from orchestrator.store.store import Store
from orchestrator.worker.deliver import Deliverer


async def send(database: str, url: str, speed: float, began: datetime) -> None:
    """Send until nothing is left."""
    # The longest time-out, so that a lease outlasts an attempt though its time goes so fast.
    table = {
        "kind": "webhook",
        "url": url,
        "secret": {"env": "SECRET"},
        "allow_private": True,
        "timeout": "60s",
    }
    hook = Webhook(WebhookOptions.model_validate(table), Path.cwd())

    def clock() -> datetime:
        return began + (datetime.now(UTC) - began) * speed

    with Database(database, clock=clock) as opened:
        store = Store(opened, "acme")
        deliverer = Deliverer(store=store, hooks={"team": hook})
        await store.leases.end(alive)
        while await store.outbox.unsettled():
            await deliverer.drain("team")
            wait = await deliverer.wait("team") or timedelta(0)
            await anyio.sleep(wait.total_seconds() / speed)
        await deliverer.close()


if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))  # errors
    anyio.run(send, sys.argv[1], sys.argv[2], float(sys.argv[3]), datetime.fromisoformat(sys.argv[4]))
