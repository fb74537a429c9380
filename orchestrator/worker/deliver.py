"""Hooks: claim what is due, send it beside each other, settle what is finished with the next claim."""

import hashlib
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta

import anyio
import structlog
from anyio.abc import TaskGroup

from orchestrator import crashpoint
from orchestrator.core.delivery import ANSWER_CAP, Delivery, DeliveryState, Finished
from orchestrator.core.receiver import OPENS_AT, Attempt, Hearing
from orchestrator.errors import HookError, HookGone, OrchestratorError, SecretError, StoreError
from orchestrator.hooks.base import Hook
from orchestrator.store.hearing import Declared
from orchestrator.store.outbox import Turn, claim_on
from orchestrator.store.store import Store

log: structlog.stdlib.BoundLogger = structlog.get_logger("orchestrator.hooks")

IN_FLIGHT = 20
AHEAD = 20
"""Claimed beside what is in flight, so that no sender waits for the database."""
GRACE = timedelta(seconds=30)
LONGEST_ORIGIN = 200
TICK_SECONDS = 10.0
"""How often a loop that waits for answers says that it is well."""
CHECK_SECONDS = 20.0
LAST_SETTLE_SECONDS = 5.0


@dataclass(kw_only=True)
class Deliverer:
    """Sends what the outbox holds for the hooks of the files."""

    store: Store
    hooks: Mapping[str, Hook]
    draw: Callable[[], float] = random.random
    stopping: Callable[[], bool] = lambda: False
    """Says that nothing new should be begun."""
    _owed: dict[str, list[Finished]] = field(default_factory=dict)
    """What is finished and not settled yet, by hook; it outlives a database that does not answer."""
    _unfit: set[str] = field(default_factory=set)
    """Those that cannot work, as was last found and said."""
    _closed: bool = False

    @property
    def resting(self) -> bool:
        """Whether nothing new may be begun."""
        return self._closed or self.stopping()

    def renewed(self, hooks: Mapping[str, Hook]) -> "Deliverer":
        """Return one for other hooks, which takes over what is owed."""
        return replace(self, hooks=hooks)

    async def declare(self) -> None:
        """Remember the hooks of the files; one whose table changed is switched on, and gets what waits."""
        tables = {
            name: Declared(digest=_digest(hook), origin=origin_of(hook)) for name, hook in self.hooks.items()
        }
        for name in await self.store.hearings.declare(tables):
            log.info("hook.changed", hook=name)

    async def check(self, *, unfit: bool = False) -> None:
        """Find out which hooks cannot work here: a secret that is missing or malformed, a lost program.

        With `unfit` only those are looked at again that could not.
        """
        async with anyio.create_task_group() as tasks:
            for name, hook in self.hooks.items():
                if name in self._unfit or not unfit:
                    tasks.start_soon(self._check, name, hook)

    async def _check(self, name: str, hook: Hook) -> None:
        error: HookError | SecretError | None = None
        with anyio.move_on_after(CHECK_SECONDS):
            try:
                await hook.check()
            except (HookError, SecretError) as found:
                error = found
            except (OrchestratorError, OSError, ValueError, RuntimeError) as found:
                log.exception("hook.broken", hook=name)
                error = HookError(f"the hook broke: {type(found).__name__}")
        try:
            news = await self.store.hearings.unfit(name, error.message if error else None)
        except StoreError as trouble:
            log.error("store.failed", loop="check", error=trouble.message, hint=trouble.hint)
            return
        if error is None:
            self._unfit.discard(name)
            if news:
                log.info("hook.fit", hook=name)
        elif news or name not in self._unfit:
            self._unfit.add(name)
            log.error("hook.unfit", hook=name, error=error.message, hint=error.hint)

    async def drain(self, name: str, tick: Callable[[], None] = lambda: None) -> int:
        """Send everything that is due for one hook, and return how many attempts were made.

        `tick` is called now and then, while a receiver takes its time.
        """
        async with self.store.leases.kept():
            return await _Pump(self, name, self.hooks[name], self._owed.setdefault(name, []), tick).run()

    async def wait(self, name: str) -> timedelta | None:
        """Return how long it is until there is something to send to one hook."""
        return await self.store.outbox.wait(name, origin_of(self.hooks[name]))

    async def close(self) -> None:
        """Begin nothing more, and give back what the hooks hold."""
        self._closed = True
        for hook in self.hooks.values():
            await hook.aclose()


class _Pump:
    """One hook at work: up to `IN_FLIGHT` attempts, and one transaction for all that ended meanwhile."""

    def __init__(
        self, owner: Deliverer, name: str, hook: Hook, owed: list[Finished], tick: Callable[[], None]
    ) -> None:
        self._owner = owner
        self._name = name
        self._hook = hook
        self._origin = origin_of(hook)
        self._probe = hook.deadline + GRACE
        self._slots = anyio.Semaphore(IN_FLIGHT)
        self._owed = owed
        self._tick = tick
        self._attempts = 0
        self._flying: dict[str, Delivery] = {}
        self._patience = OPENS_AT
        self._news = anyio.Event()

    async def run(self) -> int:
        """Work until nothing is due and all is settled."""
        trouble: StoreError | None = None
        try:
            async with anyio.create_task_group() as tasks:
                while True:
                    self._news = anyio.Event()
                    try:
                        turn = await self._turn()
                    except StoreError as error:
                        trouble = error  # what is under way ends first, and is settled the next time
                        break
                    self._begin(tasks, turn)
                    if not self._flying and not self._owed:
                        break
                    await self._rest()
        except BaseException:
            await self._settle_last()
            raise
        if trouble is not None:
            raise trouble
        return self._attempts

    async def _turn(self, *, most: int = IN_FLIGHT + AHEAD) -> Turn:
        crashpoint.reach("C23")
        finished = tuple(self._owed)
        most = 0 if self._owner.resting else most - len(self._flying)
        turn = await self._owner.store.outbox.turn(
            self._name, self._origin, finished, most=most, probe=self._probe
        )
        del self._owed[: len(finished)]
        self._patience = turn.patience
        _tell(finished, turn)
        return turn

    def _begin(self, tasks: TaskGroup, turn: Turn) -> None:
        table = turn.after.digest if turn.after is not None else ""
        for delivery in turn.claimed:
            self._flying[delivery.id] = delivery
            tasks.start_soon(self._send, delivery, table)

    async def _send(self, delivery: Delivery, table: str) -> None:
        async with self._slots:
            # What was claimed ahead is given back where the receiver wants no more, or not now.
            back = self._owner.resting or self._enough()
            attempt = Attempt(unsent=True) if back else await self._attempt(delivery)
        draw = self._owner.draw()
        self._owed.append(Finished(delivery=delivery, attempt=attempt, draw=draw, table=table))
        del self._flying[delivery.id]
        self._news.set()

    def _enough(self) -> bool:
        """Say whether the hook is off or its origin rests, by the last turn and by what ended since."""
        left = self._patience
        for one in self._owed:
            if left < 1 or one.attempt.gone:
                return True
            if not one.attempt.unsent:
                left = left - 1 if one.attempt.down else OPENS_AT
        return left < 1

    async def _attempt(self, delivery: Delivery) -> Attempt:
        self._attempts += 1
        try:
            answer = await self._hook.send(delivery)
        except HookError as error:
            return failure(error)
        except SecretError as error:
            return Attempt(text=error.message[:ANSWER_CAP])
        except (OrchestratorError, OSError, ValueError, RuntimeError) as error:
            log.exception("hook.broken", hook=self._name, delivery=delivery.id)
            return Attempt(text=f"the hook broke: {type(error).__name__}")
        return Attempt(taken=True, text=answer[:ANSWER_CAP] if answer else None)

    async def _rest(self) -> None:
        """Wait until an attempt has ended; what is owed already is settled at once."""
        while self._flying and not self._owed:
            self._tick()
            with anyio.move_on_after(TICK_SECONDS):
                await self._news.wait()
        self._tick()

    async def _settle_last(self) -> None:
        """Settle what has ended though we are cut off, or it would be sent once more; give back the rest."""
        with anyio.move_on_after(LAST_SETTLE_SECONDS, shield=True):
            try:
                if self._owed:
                    await self._turn(most=0)
            except StoreError as error:
                log.warning("hook.unsettled", hook=self._name, error=error.message)
            await self._owner.store.leases.release(map(claim_on, self._flying.values()))


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


def _digest(hook: Hook) -> str:
    table = f"{hook.root}\n{type(hook).__name__}\n{hook.options.model_dump_json()}"
    return hashlib.sha256(table.encode()).hexdigest()


def _tell(finished: tuple[Finished, ...], turn: Turn) -> None:
    for one, after in zip(finished, turn.settled, strict=True):
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
    if turn.lost:
        log.warning("hook.taken_over", hook=finished[0].delivery.hook, deliveries=turn.lost)
    if turn.before is not None and turn.after is not None:
        _tell_of_hook(turn.before, turn.after)


def _tell_of_hook(before: Hearing, after: Hearing) -> None:
    if before.off is None and after.off is not None:
        hint = f"change its table, or run: orchestrator hooks redeliver --hook {after.name}"
        log.error("hook.off", hook=after.name, reason=after.off, hint=hint)
    elif after.flagged and not before.flagged:
        log.error("hook.refused", hook=after.name, code=after.code, error=(after.answer or "")[:200])
    elif before.failing_since is not None and after.failing_since is None:
        log.info("hook.recovered", hook=after.name)
