"""Owners: how a process is named in its leases, so that others can tell whether it still lives."""

import os
import socket
from pathlib import Path

from orchestrator.store.commit import make_id


def process_name() -> str:
    """Name this process so that another on the same machine can tell whether it still lives."""
    pid = os.getpid()
    return f"{socket.gethostname()}/{pid}/{_started(pid)}/{make_id('o')}"


def alive(owner: str) -> bool:
    """Say whether the process that `owner` names may still live; on another machine it always may."""
    host, _, process = owner.partition("/")
    if host != socket.gethostname():
        return True
    pid, started, *_ = process.split("/")
    return _started(int(pid)) == started


def shown(owner: str) -> str:
    """Name an owner for a person."""
    host, pid, *_ = [*owner.split("/"), "?"]
    return f"pid {pid} on {host}"


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
