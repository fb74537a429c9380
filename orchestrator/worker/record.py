"""Recording what a provider says of open runs: only changes, one transaction for each batch."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

import structlog

from orchestrator.core.job import JsonObject
from orchestrator.core.run import Run, Snapshot, Status
from orchestrator.core.transition import Transition, observe
from orchestrator.errors import LeaseLost, Misread, Missing, NotSent, Rejected, Throttled, Transient
from orchestrator.worker.account import AccountWorker, told

log: structlog.stdlib.BoundLogger = structlog.get_logger("orchestrator.worker")

RESULT_PATIENCE: Final = timedelta(minutes=15)
"""How long a finished run may be without a model before it counts as a success all the same."""


class SnapshotRecorder:
    """Records the snapshots of one poll.

    A single read that fails holds back its own run alone, and none of its kind is made after it in one look.
    """

    def __init__(self, worker: AccountWorker) -> None:
        self._worker = worker
        self._silent: set[str] = set()
        self.finished = 0

    async def record(self, shown: Sequence[Snapshot]) -> None:
        """Write what `shown` changes, even if a later one of them raises."""
        now, runs = await self._worker.store.watch.bound(
            self._worker.name, [item.remote_id for item in shown]
        )
        transitions: list[Transition] = []
        try:
            for item in shown:
                run = runs.get(item.remote_id)
                if run is not None and not run.status.final:
                    transition = await self._observed(run, item, now)
                    if transition.run != run:
                        transitions.append(transition)
        finally:
            await write(self._worker, transitions)
            self.finished += sum(each.run.status.final for each in transitions)

    async def _observed(self, run: Run, snapshot: Snapshot, now: datetime) -> Transition:
        result: JsonObject | None = None
        if snapshot.status is Status.SUCCEEDED:
            result = await self._result(run, snapshot, now)
        elif snapshot.status is Status.FAILED and snapshot.message is None:
            snapshot = await self._whole(snapshot)  # a listing leaves the reason out
        transition = observe(run, snapshot, now, result=result)
        if transition.run.status is run.status and run.provider_status == snapshot.provider_status:
            # The same word again while we wait for the model is no change.
            return Transition(before=run, run=replace(run, looks=0))
        return replace(transition, run=replace(transition.run, looks=0))

    async def _whole(self, snapshot: Snapshot) -> Snapshot:
        if "get" in self._silent or not self._worker.provider.can("get"):
            return snapshot
        try:
            whole = await self._worker.provider.get(snapshot.remote_id)
        except (NotSent, Throttled):
            raise
        except (Missing, Rejected):
            return snapshot
        except (Transient, Misread) as error:
            self._failed("get", snapshot, error)
            return snapshot
        return whole if whole.status is snapshot.status else snapshot

    async def _result(self, run: Run, snapshot: Snapshot, now: datetime) -> JsonObject | None:
        if "result" in self._silent:
            return None
        try:
            result = await self._worker.provider.result(snapshot)
        except (NotSent, Throttled):
            raise
        except (Missing, Rejected):
            result = None
        except (Transient, Misread) as error:
            self._failed("result", snapshot, error)
            return None
        if result is not None:
            return result
        waited = run.provider_status == snapshot.provider_status and now - run.updated_at > RESULT_PATIENCE
        return {"model": snapshot.remote_id} if waited else None

    def _failed(self, call: str, snapshot: Snapshot, error: Transient | Misread) -> None:
        self._silent.add(call)
        log.warning("read.failed", account=self._worker.name, id=snapshot.remote_id, error=error.message)


async def write(worker: AccountWorker, transitions: Sequence[Transition]) -> None:
    """Commit all in one transaction; if a row has moved, one by one, dropping those that are stale."""
    if not transitions:
        return
    try:
        await worker.store.work.commit(transitions, worker.routing)
    except LeaseLost:
        if len(transitions) == 1:
            log.info("run.moved_meanwhile", run=transitions[0].run.id)
            return
        for transition in transitions:
            await write(worker, [transition])
        return
    for transition in transitions:
        told(transition.before, transition.run)
