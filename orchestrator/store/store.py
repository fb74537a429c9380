"""The store of one project: its parts, opened together."""

import os
import socket
from datetime import datetime
from pathlib import Path
from typing import Self

from orchestrator.store.accounts import Accounts
from orchestrator.store.agenda import Agendas
from orchestrator.store.commit import make_id
from orchestrator.store.daemons import Daemons
from orchestrator.store.database import Database, Tx
from orchestrator.store.decisions import Decisions
from orchestrator.store.declared import Declared
from orchestrator.store.hearing import Hearings
from orchestrator.store.outbox import Outbox
from orchestrator.store.replay import Replay
from orchestrator.store.views import Views
from orchestrator.store.watch import Watches
from orchestrator.store.work import Work


class Store:
    """All that is remembered of `project`; `owner` names this process in leases."""

    def __init__(self, database: Database, project: str, *, owner: str | None = None) -> None:
        self.database = database
        self.project = project
        self.owner = owner or process_name()
        self.declared = Declared(database, project)
        self.agendas = Agendas(database, project, self.owner)
        self.work = Work(database, project, self.owner)
        self.watch = Watches(database, project)
        self.outbox = Outbox(database, project, self.owner)
        self.hearings = Hearings(database, project)
        self.replay = Replay(database, project)
        self.accounts = Accounts(database, project, self.owner)
        self.daemons = Daemons(database, project, self.owner)
        self.decisions = Decisions(database, project)
        self.views = Views(database, project)

    async def now(self) -> datetime:
        """Return the database's own time."""
        return await self.database.read(_now)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.database.aclose()


async def _now(tx: Tx) -> datetime:
    return tx.now


def process_name() -> str:
    """Name this process so that another on the same machine can tell whether it still lives."""
    pid = os.getpid()
    return f"{socket.gethostname()}/{pid}/{_started(pid)}/{make_id('o')}"


def alive(owner: str) -> bool:
    """Say whether the process that `owner` names may still live; on another machine it always may."""
    host, pid, started, *_ = owner.split("/")
    return host != socket.gethostname() or _started(int(pid)) == started


def _started(pid: int) -> str:
    """Return what tells a process from a later one with its number, empty where there is none."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return ""
        except PermissionError:
            pass
        return "running"  # no /proc: macOS
    state, *fields = text.rpartition(")")[2].split()
    return "" if state == "Z" else fields[18]
