"""Job files that change while a daemon runs: taken as a whole, tried again until they are in force."""

import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import pytest
import structlog
from drive import cartesia

from orchestrator.app.kinds import kinds
from orchestrator.config.load import load
from orchestrator.daemon.daemon import Daemon
from orchestrator.store.database import Database
from orchestrator.store.store import Store
from orchestrator.worker.engine import Engine
from orchestrator.worker.journal import Journal

HEAD = '[orchestrator]\nproject = "acme"\n'
NOWHERE = '[providers.cartesia]\nbase_url = "http://127.0.0.1:9"\n'
JOB = cartesia("voice")


async def until(done: Callable[[], Any], seconds: float = 15) -> None:
    with anyio.fail_after(seconds):
        while not done():  # noqa: ASYNC110 - what is waited for tells nobody
            await anyio.sleep(0.01)


@pytest.mark.timeout(60)
async def test_what_the_database_refused_is_reconciled_once_it_is_well(
    tmp_path: Path, migrated: Path
) -> None:
    path, file = tmp_path / "state.db", tmp_path / "jobs.toml"
    shutil.copyfile(migrated, path)
    os.chmod(path, 0o600)
    file.write_text(HEAD + NOWHERE)

    def refuse(*, refused: bool) -> None:
        order = "before insert on runs begin select raise(abort, 'no room'); end"
        with closing(sqlite3.connect(path)) as direct:
            direct.execute(f"create trigger refused {order}" if refused else "drop trigger refused")
            direct.commit()

    def bought() -> int:
        with closing(sqlite3.connect(path)) as direct:
            return int(direct.execute("select count(*) from runs").fetchone()[0])

    def reload() -> Any:
        return load([file], kinds(), {})

    with Database(f"sqlite:///{path}") as database:
        store = Store(database, "acme")
        engine = Engine(store, reload(), Journal(tmp_path / "replies.jsonl"), {})
        daemon = Daemon(engine=engine, reload=reload)
        with structlog.testing.capture_logs() as logs:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(daemon.run)
                await until(lambda: "files" in daemon.progress)
                refuse(refused=True)
                file.write_text(HEAD + NOWHERE + JOB)
                await until(lambda: any("no room" in str(line.get("error")) for line in logs))
                assert bought() == 0
                refuse(refused=False)
                await until(bought)
                daemon.stop()
        assert list(engine.manifest.jobs) == ["voice"]
        await engine.close()
