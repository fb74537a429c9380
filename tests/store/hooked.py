"""What the tests of deliveries share: jobs that hooks hear of, claims and settlements."""

from collections.abc import Sequence
from datetime import timedelta

from core.make import NOW, a_record, a_route, a_run

from orchestrator.core.delivery import Delivery, DeliveryState, Finished
from orchestrator.core.receiver import Attempt, HookHealth
from orchestrator.core.run import Run, Status
from orchestrator.core.transition import finish
from orchestrator.store.commit import Routing
from orchestrator.store.hooks import Declared
from orchestrator.store.outbox import Batch
from orchestrator.store.store import Store

from .make import EVERYTHING, heard, put

TEAM = Routing(hooks={"team": a_route("team", *EVERYTHING)})
MINUTE = timedelta(minutes=1)
ORIGIN = "https://example.com:443"
TAKEN = Attempt(taken=True, text="HTTP 200")
GONE = Attempt(gone=True, code=410, text="HTTP 410")
FAILED = Attempt(code=500, text="HTTP 500")
DOWN = Attempt(code=503, down=True, text="HTTP 503")
TABLE = Declared(digest="one", origin=ORIGIN)


async def tell(store: Store, *jobs: str, times: int = 1, routing: Routing = TEAM) -> None:
    """Let each of `jobs` go through as many events, which `team` hears of."""
    for name in jobs:
        job = heard(name)
        run = a_run(job, status=Status.QUEUED)
        await put(store, run, records=[a_record(job)])
        for _ in range(times):
            run = await happen(store, run, Status.RUNNING, routing)


async def happen(store: Store, run: Run, status: Status, routing: Routing = TEAM) -> Run:
    moved = finish(run, NOW, status=status)
    await store.work.commit([moved], routing)
    return moved.run


async def turn(
    store: Store, *finished: tuple[Delivery, Attempt], hook: str = "team", most: int = 99
) -> Batch:
    settled = [Finished(delivery=delivery, attempt=attempt, jitter=1.0) for delivery, attempt in finished]
    return await store.outbox.next_batch(hook, ORIGIN, settled, most=most, probe=MINUTE)


async def take(store: Store, most: int = 99, hook: str = "team") -> Sequence[Delivery]:
    return (await turn(store, hook=hook, most=most)).claimed


async def settle(store: Store, attempt: Attempt, *delivered: Delivery) -> HookHealth:
    """Settle deliveries in one way, and return how the hook stands then."""
    made = await turn(store, *((one, attempt) for one in delivered), most=0)
    assert made.lost == 0
    assert made.after is not None
    return made.after


async def states(store: Store) -> list[DeliveryState]:
    return [one.state for one in await store.outbox.log()]
