"""Runs as a process of its own: it has loaded the program, and forks for every command that is asked for.

A command that starts so costs a tenth of one that starts cold, and is a real process all the same: it has
its own pid, environment, folder and log, runs the entry point of the installed command, and dies by real
signals. Orders come as lines of JSON on standard input; what became of the children goes to standard output.
"""

import gc
import importlib
import json
import os
import random
import selectors
import signal
import sys
from typing import Any, NoReturn

MODULES = (
    "alembic.command",
    "anyio._backends._asyncio",
    "orchestrator.cli._alone",
    "orchestrator.cli.apply",
    "orchestrator.cli.audit",
    "orchestrator.cli.db",
    "orchestrator.cli.show",
    "orchestrator.cli.status",
    "orchestrator.cli.up",
    "orchestrator.worker.engine",
    "orchestrator.store.migrate",
    "sqlalchemy.dialects.postgresql.psycopg",
    "sqlalchemy.dialects.sqlite.pysqlite",
)


def serve() -> None:
    """Take orders until standard input ends."""
    for name in MODULES:
        importlib.import_module(name)
    importlib.import_module("orchestrator.providers.registry").registry()
    importlib.import_module("orchestrator.hooks.registry").registry()
    gc.freeze()
    wake, woken = os.pipe()
    for end in (wake, woken):
        os.set_blocking(end, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(woken)
    tell({"ready": os.getpid(), "package": importlib.import_module("orchestrator").__file__})
    with selectors.DefaultSelector() as waiting:
        waiting.register(0, selectors.EVENT_READ)
        waiting.register(wake, selectors.EVENT_READ)
        rest = b""
        while True:
            for key, _ in waiting.select():
                if key.fd == wake:
                    os.read(wake, 4096)
                    continue
                chunk = os.read(0, 65536)
                if not chunk:
                    return
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    launch(json.loads(line))
            reap()


def launch(order: dict[str, Any]) -> None:
    """Fork, and become the command in the child."""
    pid = os.fork()
    if pid == 0:
        become(order)
    tell({"order": order["order"], "pid": pid})


def become(order: dict[str, Any]) -> NoReturn:
    """Be the command: its signals, folder, environment and log; never return."""
    code = 70
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.closerange(3, 64)
        os.chdir(order["cwd"])
        os.environ.clear()
        os.environ.update(order["env"])
        for number, path, flags in (
            (0, "/dev/null", os.O_RDONLY),
            (1, order["out"], os.O_WRONLY | os.O_CREAT | os.O_APPEND),
            (2, order["err"], os.O_WRONLY | os.O_CREAT | os.O_APPEND),
        ):
            opened = os.open(path, flags, 0o600)
            os.dup2(opened, number)
            os.close(opened)
        random.seed()
        importlib.reload(importlib.import_module("orchestrator.crashpoint"))
        if order["alarm"]:  # whose signal ends a process where it stands, as SIGKILL does
            signal.setitimer(signal.ITIMER_REAL, order["alarm"])
        try:
            importlib.import_module("orchestrator.cli").main(order["args"])
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else 0
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


def reap() -> None:
    """Tell of every child that ended or was stopped."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG | os.WUNTRACED)
        except ChildProcessError:
            return
        if pid == 0:
            return
        if os.WIFSTOPPED(status):
            tell({"pid": pid, "stopped": True})
        else:
            tell({"pid": pid, "code": os.waitstatus_to_exitcode(status)})


def tell(line: dict[str, Any]) -> None:
    """Write one line."""
    os.write(1, json.dumps(line).encode() + b"\n")


if __name__ == "__main__":
    serve()
