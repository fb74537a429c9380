"""Small stories that are always told, where the others are drawn: each is what one planted bug breaks."""

from collections.abc import Mapping
from pathlib import Path

import anyio
import pytest
import sqlalchemy as sa
from providers.canned import canned, http

from crash.conftest import Crew
from crash.harness import Scenario
from crash.model import Script
from crash.test_points import check
from orchestrator import crashpoint
from orchestrator.core.run import Status
from orchestrator.errors import Unclear
from orchestrator.store.database import Database, Tx

pytestmark = pytest.mark.timeout(900)
CREATE = (("operation", "create"),)
SCRIPTS: Mapping[str, Scenario] = {
    "killed after the intent": Scenario(seed=4),
    "killed with the answer unread": Scenario(seed=4, point="request-applied"),
    "wiped database": Scenario(seed=4, point="none", before="wiped"),
    "502 that was applied": Scenario(
        seed=4, point="none", faults=(("status", (*CREATE, ("code", 502), ("applied", True))),)
    ),
    "reset with no answer": Scenario(seed=4, point="none", faults=(("reset_after", CREATE),)),
    "redirect": Scenario(seed=4, point="none", faults=(("redirect", (*CREATE, ("applied", True))),)),
    "applied late, sent again": Scenario(
        seed=4, point="none", resend=True, faults=(("applied_late", (*CREATE, ("seconds", 80.0))),)
    ),
    "taken over while it stood still": Scenario(
        seed=4, database="postgres", point="intent-stored", action="stop", takeover=True
    ),
    "stood still while another one sent": Scenario(
        seed=4, database="postgres", point="intent-stored", action="stop", takeover=True, resend=True
    ),
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script(crew: Crew, crash_seed: int, name: str) -> None:
    outcomes = crew([SCRIPTS[name]])
    check(outcomes, crash_seed)
    assert outcomes[0].hit or SCRIPTS[name].point == "none", "what was to be hit was not"
    if name in ("502 that was applied", "redirect"):
        assert outcomes[0].doubted, "an answer that proves nothing must leave its run in doubt"


async def test_commits_wait_for_the_disk(database_url: str) -> None:
    def work(tx: Tx) -> str:
        name = "PRAGMA synchronous" if tx.connection.dialect.name == "sqlite" else "show synchronous_commit"
        return str((tx.execute(sa.text(name))).scalar_one())

    with Database(database_url) as database:
        assert await database.write(work) in ("2", "3", "on")  # FULL, EXTRA


async def test_a_create_without_an_answer_is_in_doubt() -> None:
    def silent(_: bytes) -> bytes:
        return b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n{"

    async with canned(silent) as server, http(server.url, deadline=0.3) as client:
        with pytest.raises(Unclear):
            await client.call("POST", "/fine-tunes/", json={}, creating=True)


async def test_p5_a_bind_that_is_cancelled_is_finished(
    _migrated_file: Path,  # noqa: PT019 - its path is needed
    tmp_path: Path,
) -> None:
    """A cancellation between the answer and its commit waits until the id is stored."""
    for point in ("answer-received", "answer-written", "answer-journaled", "storing-id"):
        script = Script(7, tmp_path / point, _migrated_file)
        async with script.living() as life:

            def cancel(reached: str, point: str = point) -> None:
                if reached == point and life.scope is not None:
                    # What stands in a thread of its own is reached there.
                    inside = point in ("answer-received", "answer-journaled")
                    life.scope.cancel() if inside else anyio.from_thread.run_sync(life.scope.cancel)

            crashpoint.watch = cancel
            await life.round()
            crashpoint.watch = None
            sent = [run for run in script.runs().values() if run.status is not Status.PENDING]
            assert {run.status for run in sent} == {Status.RUNNING}, point
