"""Named places to die at, for the crash tests (`docs/reliability.md`); free when off.

`ORCHESTRATOR_CRASH=intent-stored:kill` kills this process the first time it gets there,
`intent-stored:kill:3` the third time. Actions: kill (SIGKILL), term (SIGTERM), stop (SIGSTOP),
exit (`os._exit`), raise (an exception), full (a full disk).
"""

import errno
import os
import signal
from collections.abc import Callable
from typing import Final

_PLAN: Final = os.environ.get("ORCHESTRATOR_CRASH", "")
_seen = 0
watch: Callable[[str], None] | None = None
"""Called at every point, where crash tests have many lives in one process."""


def lease(seconds: float) -> float:
    """Return how long a lease lasts: `seconds`, or what a crash test has no time to wait for."""
    return float(os.environ.get("ORCHESTRATOR_CRASH_LEASE", seconds))


def reach(point: str) -> None:
    """Do what the environment asks for at `point`, which is nothing outside the crash tests."""
    if watch is not None:
        watch(point)
    if _PLAN and _PLAN.split(":")[0] == point:
        _act(*(_PLAN.split(":") + ["kill", "1"][len(_PLAN.split(":")) - 1 :])[:3])


def _act(point: str, action: str, count: str) -> None:
    global _seen
    _seen += 1
    if _seen != int(count):
        return
    match action:
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "term":
            os.kill(os.getpid(), signal.SIGTERM)
        case "stop":
            os.kill(os.getpid(), signal.SIGSTOP)
        case "exit":
            os._exit(99)
        case "full":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), point)
        case _:
            raise RuntimeError(f"asked to fail at {point}")
