"""One hook at work: claim what is due, send it side by side, settle what has ended with the next claim."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

import anyio
import structlog
from anyio.abc import TaskGroup

from orchestrator import crashpoint
from orchestrator.core.delivery import ANSWER_CAP, Delivery, DeliveryState, Finished
from orchestrator.core.receiver import OPENS_AT, Attempt, HookHealth
from orchestrator.errors import HookError, HookGone, SecretError, StoreError
from orchestrator.hooks.base import Hook
from orchestrator.store.outbox import Batch, claim_on
from orchestrator.store.store import Store

log: structlog.stdlib.BoundLogger = structlog.get_logger("orchestrator.hooks")

IN_FLIGHT = 20
AHEAD = 20
"""Claimed beside what is in flight, so that no attempt waits for the database."""
GRACE = timedelta(seconds=30)
LONGEST_ORIGIN = 200
TICK_SECONDS = 10.0
"""How often a loop that waits for answers says that it is well."""
LAST_SETTLE_SECONDS = 5.0


@dataclass(kw_only=True, eq=False)
class Pump:
    """Up to `IN_FLIGHT` attempts at once, and one transaction for all that ended meanwhile."""

    store: Store
    name: str
    hook: Hook
    owed: list[Finished]
    """What has ended and is not settled yet; it outlives this pump."""
    jitter: Callable[[], float]
    """Gives a number from 0 to 1."""
    resting: Callable[[], bool]
    """Says whether to begin nothing new."""
    tick: Callable[[], None]
    """Called now and then, while a receiver takes its time."""
    _slots: anyio.Semaphore = field(default_factory=lambda: anyio.Semaphore(IN_FLIGHT))
    _attempts: int = 0
    _flying: dict[str, Delivery] = field(default_factory=dict)
    _patience: int = OPENS_AT
    _news: anyio.Event = field(default_factory=anyio.Event)

    async def run(self) -> int:
        """Work until nothing is due and all is settled."""
        trouble: StoreError | None = None
        try:
            async with anyio.create_task_group() as tasks:
                while True:
                    self._news = anyio.Event()
                    try:
                        batch = await self._next_batch()
                    except StoreError as error:
                        trouble = error  # attempts in flight end first, and are settled the next time
                        break
                    self._begin(tasks, batch)
                    if not self._flying and not self.owed:
                        break
                    await self._rest()
        except BaseException:
            await self._settle_last()
            raise
        if trouble is not None:
            raise trouble
        return self._attempts

    async def _next_batch(self, *, most: int = IN_FLIGHT + AHEAD) -> Batch:
        crashpoint.reach("before-deliveries")
        finished = tuple(self.owed)
        most = 0 if self.resting() else most - len(self._flying)
        batch = await self.store.outbox.next_batch(
            self.name, origin_of(self.hook), finished, most=most, probe=self.hook.deadline + GRACE
        )
        del self.owed[: len(finished)]
        self._patience = batch.patience
        _tell(finished, batch)
        return batch

    def _begin(self, tasks: TaskGroup, batch: Batch) -> None:
        table = batch.after.digest if batch.after is not None else ""
        for delivery in batch.claimed:
            self._flying[delivery.id] = delivery
            tasks.start_soon(self._send, delivery, table)

    async def _send(self, delivery: Delivery, table: str) -> None:
        async with self._slots:
            # Deliveries claimed ahead are given back if the receiver wants no more, or not now.
            back = self.resting() or self._enough()
            attempt = Attempt(unsent=True) if back else await self._attempt(delivery)
        jitter = self.jitter()
        self.owed.append(Finished(delivery=delivery, attempt=attempt, jitter=jitter, table=table))
        del self._flying[delivery.id]
        self._news.set()

    def _enough(self) -> bool:
        """Say whether the hook is off or its origin rests, judging by the last batch and what ended since."""
        left = self._patience
        for one in self.owed:
            if left < 1 or one.attempt.gone:
                return True
            if not one.attempt.unsent:
                left = left - 1 if one.attempt.down else OPENS_AT
        return left < 1

    async def _attempt(self, delivery: Delivery) -> Attempt:
        self._attempts += 1
        try:
            answer = await self.hook.send(delivery)
        except HookError as error:
            return failure(error)
        except SecretError as error:
            return Attempt(text=error.message[:ANSWER_CAP])
        except Exception as error:  # whatever a hook raises counts as a failed attempt
            log.exception("hook.broken", hook=self.name, delivery=delivery.id)
            return Attempt(text=f"the hook broke: {type(error).__name__}")
        return Attempt(taken=True, text=answer[:ANSWER_CAP] if answer else None)

    async def _rest(self) -> None:
        """Wait until an attempt has ended, unless one is waiting to be settled already."""
        while self._flying and not self.owed:
            self.tick()
            with anyio.move_on_after(TICK_SECONDS):
                await self._news.wait()
        self.tick()

    async def _settle_last(self) -> None:
        """Settle what has ended even while cancelled, or it would be sent again; release the rest."""
        with anyio.move_on_after(LAST_SETTLE_SECONDS, shield=True):
            try:
                if self.owed:
                    await self._next_batch(most=0)
            except StoreError as error:
                log.warning("hook.unsettled", hook=self.name, error=error.message)
            await self.store.leases.release(map(claim_on, self._flying.values()))


def failure(error: HookError) -> Attempt:
    """Say what a failed attempt tells of the receiver."""
    return Attempt(
        later=error.later,
        gone=isinstance(error, HookGone),
        down=error.down,
        code=error.code,
        retry_after=error.retry_after,
        text=error.message[:ANSWER_CAP],
    )


def origin_of(hook: Hook) -> str:
    """Return a hook's origin in a form that every database can index."""
    origin = hook.origin
    if len(origin.encode()) <= LONGEST_ORIGIN:
        return origin
    return f"{origin[:40]}… {hashlib.sha256(origin.encode()).hexdigest()}"


def digest_of(hook: Hook) -> str:
    """Return what a hook's table is known by: where it stands, its kind and every option."""
    table = f"{hook.root}\n{type(hook).__name__}\n{hook.options.model_dump_json()}"
    return hashlib.sha256(table.encode()).hexdigest()


def _tell(finished: tuple[Finished, ...], batch: Batch) -> None:
    for one, after in zip(finished, batch.settled, strict=True):
        if one.attempt.unsent:
            continue
        fields = {"hook": after.hook, "delivery": after.id, "hook_event": after.event, "job": after.job}
        if after.state is DeliveryState.DELIVERED:
            log.info("hook.delivered", **fields)
        elif one.attempt.later:
            log.info("hook.later", **fields, said=(one.attempt.text or "")[:200])
        else:
            word = "hook.dead" if after.state is DeliveryState.DEAD else "hook.failed"
            error = (one.attempt.text or "")[:200]
            log.warning(word, **fields, attempts=after.attempts, error=error)
    if batch.lost:
        log.warning("hook.taken_over", hook=finished[0].delivery.hook, deliveries=batch.lost)
    if batch.before is not None and batch.after is not None:
        _tell_of_hook(batch.before, batch.after)


def _tell_of_hook(before: HookHealth, after: HookHealth) -> None:
    if before.off is None and after.off is not None:
        hint = f"change its table, or run: orchestrator hooks redeliver --hook {after.name}"
        log.error("hook.off", hook=after.name, reason=after.off, hint=hint)
    elif after.flagged and not before.flagged:
        log.error("hook.refused", hook=after.name, code=after.code, error=(after.answer or "")[:200])
    elif before.failing_since is not None and after.failing_since is None:
        log.info("hook.recovered", hook=after.name)
