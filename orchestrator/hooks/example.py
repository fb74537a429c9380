"""The delivery that `hooks test` sends."""

import json
from datetime import datetime
from typing import Any

from orchestrator.core.delivery import Delivery, body
from orchestrator.core.event import Event, EventType


def example(hook: str, event: EventType, now: datetime, *, delivery_id: str, project: str) -> Delivery:
    """Make the delivery of `hooks test`: a job that is not there, and `"test": true` in its data."""
    final = event in (EventType.SUCCEEDED, EventType.FAILED, EventType.CANCELLED, EventType.LOST)
    about_job = event.startswith("job.")
    status = "running" if event is EventType.OVERDUE else event.removeprefix("job.")
    happened = Event(
        type=event,
        timestamp=now,
        project=project,
        account="example",
        job="example" if about_job else None,
        run_id="00000000-0000-0000-0000-000000000000" if about_job else None,
        sequence=1 if about_job else None,
        status=status if about_job else None,
        previous_status="running" if final else None,
        message="sent by `orchestrator hooks test`",
    )
    document: dict[str, Any] = json.loads(body(happened, None))
    if about_job:
        document["data"] |= {"attempt": 1, "current": True, "remote_id": "example"}
    if event is EventType.SUCCEEDED:
        document["data"]["result"] = {"model": "example-model"}
    document["data"]["test"] = True
    return Delivery(
        id=delivery_id,
        hook=hook,
        event=event,
        project=project,
        job=happened.job,
        lane="example",
        body=json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode(),
        due_at=now,
    )
