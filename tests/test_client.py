"""The package from a program of one's own: it waits by the rule of the commands, and prints nothing."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from drive import Place, _client, _url, _warm, cartesia, place
from test_docs import OPERATIONS, blocks, section

__all__ = ["_client", "_url", "_warm", "place"]
SECONDS = 50.0
PROGRAM = """
import asyncio

from orchestrator import Orchestrator
from orchestrator.errors import Denied, UsageError


async def main() -> None:
    async with Orchestrator.open() as jobs:
        await jobs.apply(await jobs.plan())
        for job in ("voice", "chat"):
            try:
                print((await jobs.wait(job)).status)
            except (Denied, UsageError) as error:
                print(type(error).__name__, error.message)


asyncio.run(main())
"""


@pytest.fixture
def program(place: Place) -> Path:
    path = place.folder / "program.py"
    path.write_text(PROGRAM)
    return path


def run(place: Place, path: Path) -> tuple[str, str]:
    """Run a program in the place, and return what it printed and what it complained of."""
    done = subprocess.run(
        [sys.executable, path],
        cwd=place.folder,
        env=place.env,
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


def test_the_documented_program_runs_and_buys_nothing(place: Place) -> None:
    ((_, text),) = blocks(section(OPERATIONS, "From Python"), "python")
    path = place.folder / "documented.py"
    path.write_text(text)
    place.write(cartesia("narrator-en"))
    place.env["ORCHESTRATOR_SANDBOX_STAGE_SECONDS"] = "0"
    printed, said = run(place, path)
    assert printed.startswith("succeeded {")
    assert (printed.count("\n"), said) == (1, "")
    assert place.ledger().requests == []
    assert not (place.folder / ".orchestrator" / "state.db").exists()


def test_a_missing_credential_ends_the_wait_and_only_warnings_are_said(place: Place, program: Path) -> None:
    place.write(cartesia("voice"), cartesia("chat", dataset="fail-me", account="other"), accounts=_two(place))
    del place.env["CARTESIA_API_KEY"]
    printed, said = run(place, program)
    first, second = printed.splitlines()
    assert first.startswith("Denied cartesia: ")
    assert "CARTESIA_API_KEY" in first
    assert second == "failed"
    assert "account.paused" in said
    assert "run.advanced" not in said
    place.env["CARTESIA_API_KEY"] = f"{place.name}:dummy-key-0123456789"
    assert run(place, program)[0].splitlines() == ["succeeded", "failed"]
    assert place.ledger().counts["cartesia"] == 2


def test_what_a_person_must_decide_is_not_waited_for(place: Place, program: Path) -> None:
    place.write(cartesia("voice"), cartesia("chat"), settings="max_new_runs = 1")
    place.up()
    program.write_text(PROGRAM.replace("await jobs.apply(await jobs.plan())", "pass"))
    printed, _ = run(place, program)
    assert printed.count("UsageError") == 2
    assert "max_new_runs" in printed


def _two(place: Place) -> str:
    other = (
        f'[providers.other]\nkind = "cartesia"\nbase_url = "{place.url}/cartesia"\n'
        'api_key = { env = "OXEN_API_KEY" }\n'
    )
    return place.accounts() + other


def test_what_a_dead_process_had_claimed_is_sent_at_once(place: Place, program: Path) -> None:
    place.write(cartesia("voice"))
    place("apply", "-y", env={"ORCHESTRATOR_CRASH": "before-listing:kill"}, code=-signal.SIGKILL)
    assert place.ledger().asked("create") == []
    program.write_text(PROGRAM.replace('for job in ("voice", "chat")', "for job in ()"))
    run(place, program)
    assert len(place.ledger().asked("create")) == 1
