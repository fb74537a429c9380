"""Who is alive: by what it wrote, by its process, by its lock, by what it changed."""

import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import anyio
import pytest
from core.make import NOW, a_run

from orchestrator.errors import StoreError
from orchestrator.store.daemons import FRESH
from orchestrator.store.hints import changes
from orchestrator.store.lock import alone, held
from orchestrator.store.owner import alive, process_name
from orchestrator.store.store import Store

from .make import Clock, put


async def test_the_daemon_that_was_seen_last(store: Store, peer: Store, clock: Clock) -> None:
    assert await store.daemons.latest() is None
    await store.daemons.beat(host="a", pid=1, address=None)
    clock.forward(FRESH / 2)
    await peer.daemons.beat(host="b", pid=2, address="127.0.0.1:8787")
    found = await store.daemons.latest()
    assert found is not None
    assert (found.host, found.pid, found.address, found.fresh) == ("b", 2, "127.0.0.1:8787", True)
    clock.forward(FRESH / 4)
    await store.daemons.beat(host="a", pid=1, address="127.0.0.1:1")
    found = await store.daemons.latest()
    assert found is not None
    assert (found.owner, found.address, found.started_at, found.seen_at) == (
        "me",
        "127.0.0.1:1",
        NOW,
        clock.now,
    )
    await store.daemons.leave()
    found = await store.daemons.latest()
    assert found is not None
    assert (found.owner, found.fresh) == ("peer", True)
    await peer.daemons.leave()
    found = await store.daemons.latest()
    assert found is not None
    assert not found.fresh


async def test_a_daemon_that_is_silent_for_a_day_is_forgotten(
    store: Store, peer: Store, clock: Clock
) -> None:
    await peer.daemons.beat(host="b", pid=2, address=None)
    clock.forward(timedelta(days=1, seconds=1))
    await store.daemons.beat(host="a", pid=1, address=None)
    clock.forward(-timedelta(days=2))
    await store.daemons.leave()
    found = await store.daemons.latest()
    assert found is not None
    assert found.owner == "me"


def test_a_process_is_told_from_a_later_one_with_its_number() -> None:
    name = process_name()
    host, pid, started, _ = name.split("/")
    assert int(pid) == os.getpid()
    assert alive(name)
    assert name != process_name()
    assert not alive(f"{host}/{pid}/{started}0/o_1")
    assert alive(f"elsewhere.{host}/{pid}/1/o_1")
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        child.wait()
        assert not alive(f"{host}/{child.pid}/{started}/o_1")


def test_one_daemon_a_file(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    assert not held(path)
    with alone(path):
        assert held(path)
        with pytest.raises(StoreError, match=f"pid {os.getpid()} on "), alone(path):
            pass
    assert not held(path)
    with alone(path):
        assert path.with_name("state.db.daemon").stat().st_mode & 0o777 == 0o600


def test_the_lock_of_a_daemon_dies_with_it(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    program = (
        "import sys, pathlib\n"
        "from orchestrator.store.lock import alone\n"
        "with alone(pathlib.Path(sys.argv[1])):\n"
        "    print('held', flush=True)\n"
        "    sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", program, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"held\n"
        assert held(path)
        child.kill()
    assert not held(path)
    with alone(path):
        pass


async def test_what_another_process_writes_is_noticed(store: Store, peer: Store) -> None:
    noticed, stop = anyio.Event(), anyio.Event()

    async def follow() -> None:
        async for _ in changes(store.database, store.project, stop):
            noticed.set()
            return

    number = 0
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(follow)
        while not noticed.is_set():
            number += 1
            await put(peer, a_run(attempt=number))
        stop.set()
