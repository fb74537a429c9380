"""The store of one project: its parts, opened together."""

import os
import socket
from datetime import datetime
from typing import Self

import structlog

from orchestrator.store.accounts import Accounts
from orchestrator.store.claim import awake
from orchestrator.store.daemons import Daemons
from orchestrator.store.database import Database, Tx
from orchestrator.store.decisions import Decisions
from orchestrator.store.declared import Declared
from orchestrator.store.due_work import DueWorks
from orchestrator.store.hooks import Hooks
from orchestrator.store.lease import Leases
from orchestrator.store.outbox import Outbox
from orchestrator.store.owner import process_name
from orchestrator.store.replay import Replay
from orchestrator.store.retention import Retention
from orchestrator.store.steps import Clocks, Times
from orchestrator.store.views import Views
from orchestrator.store.watch import Watches
from orchestrator.store.work import Work

log: structlog.stdlib.BoundLogger = structlog.get_logger("orchestrator.store")


class Store:
    """All that is remembered of `project`; `owner` names this process in leases."""

    def __init__(self, database: Database, project: str, *, owner: str | None = None) -> None:
        self.database = database
        self.project = project
        self.owner = owner or process_name()
        self._clocks = Clocks()
        self.leases = Leases(database, project, self.owner)
        self.declared = Declared(database, project)
        self.due_work = DueWorks(database, project, self.owner)
        self.work = Work(database, project, self.leases)
        self.watch = Watches(database, project)
        self.outbox = Outbox(database, project, self.leases)
        self.hooks = Hooks(database, project)
        self.replay = Replay(database, project)
        self.retention = Retention(database, project)
        self.accounts = Accounts(database, project, self.leases)
        self.daemons = Daemons(database, project, self.leases)
        self.decisions = Decisions(database, project)
        self.times = Times(database, project)
        self.views = Views(database, project)

    async def beat(self, address: str | None) -> bool:
        """Say that this process is the daemon at `address`, and renew what it has claimed.

        Says whether a clock was set since the last time; what that would put off is due at once.
        """
        begun = awake()
        now = await self.daemons.beat(host=socket.gethostname(), pid=os.getpid(), address=address)
        step = self._clocks.stepped(now, begun)
        if step:
            log.warning("clock.stepped", seconds=round(step))
            self.leases.doubt_ends()
            await self.times.mend(put_back=step < 0)
            await self.accounts.reconsider()
        return bool(step)

    async def now(self) -> datetime:
        """Return the database's own time."""
        return await self.database.read(_now)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.database.close()


def _now(tx: Tx) -> datetime:
    return tx.now
