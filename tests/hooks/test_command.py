"""Commands as real processes: what they get, how each end counts, and that nothing survives."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import anyio
import pytest

from orchestrator.core.delivery import Delivery
from orchestrator.core.event import EventType
from orchestrator.errors import HookError
from orchestrator.hooks import _process
from orchestrator.hooks._reply import KEPT
from orchestrator.hooks.command import Command, CommandOptions
from orchestrator.hooks.example import example

from .conftest import NOW

Make = Callable[..., Command]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def command(*argv: str, timeout: str = "30s") -> Command:
        table = {"kind": "command", "command": argv, "timeout": timeout}
        return Command(CommandOptions.model_validate(table), tmp_path)

    return command


@pytest.fixture
def shell(make: Make) -> Make:
    """Make a command of a line of shell."""
    return lambda line, **options: make("sh", "-c", line, **options)


async def test_it_gets_the_stored_bytes_and_its_folder(
    shell: Make, delivery: Delivery, tmp_path: Path
) -> None:
    assert await shell("cat >got; pwd").send(delivery) == str(tmp_path.resolve())
    assert (tmp_path / "got").read_bytes() == delivery.body


async def test_its_environment_is_clean(
    make: Make, delivery: Delivery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CARTESIA_API_KEY", "canary")
    monkeypatch.setenv("LANG", "C.UTF-8")
    program = "import os, json; print(json.dumps(sorted(os.environ)))"
    names = set(eval(str(await make(sys.executable, "-IS", "-c", program).send(delivery))))  # noqa: S307 - JSON of our own
    told = {"EVENT", "JOB", "STATUS", "REMOTE_ID", "MODEL", "DELIVERY_ID"}
    usual = {"PATH", "HOME", "LANG", "LANGUAGE", "TZ", "TMPDIR", "USER", "LOGNAME"}
    names = {name for name in names if not name.startswith("LC_")}
    assert names <= usual | {f"ORCHESTRATOR_{name}" for name in told}
    assert {f"ORCHESTRATOR_{name}" for name in told} <= names


async def test_the_variables_say_what_happened(shell: Make, delivery: Delivery) -> None:
    names = ("EVENT", "JOB", "STATUS", "REMOTE_ID", "MODEL", "DELIVERY_ID")
    line = "echo " + " ".join(f'"${{ORCHESTRATOR_{name}?}}"' for name in names)
    assert await shell(line).send(delivery) == "job.succeeded example succeeded example example-model dlv_1"


async def test_what_is_absent_is_an_empty_variable(shell: Make) -> None:
    paused = example("team", EventType.PAUSED, NOW, delivery_id="d", project="p")
    assert await shell('echo "[${ORCHESTRATOR_JOB?}${ORCHESTRATOR_MODEL?}]"').send(paused) == "[]"


async def test_hostile_text_is_only_ever_a_value(shell: Make, delivery: Delivery, tmp_path: Path) -> None:
    hostile = delivery.body.replace(b'"example-model"', rb'"$(touch hit)\u0000;`touch hit`\ud800"')
    assert hostile != delivery.body
    answer = await shell('printf %s "$ORCHESTRATOR_MODEL"').send(replace(delivery, body=hostile))
    assert answer == "$(touch hit);`touch hit`?"
    assert not (tmp_path / "hit").exists()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("exit 3", "exit 3"),
        ("echo one >&2; echo two >&2; exit 3", "exit 3: two"),
        ("echo out; exit 1", "exit 1: out"),
        ("printf 'a\\033[31mb\\007' >&2; exit 1", "exit 1: ab"),
        ("kill -9 $$", "killed by SIGKILL"),
        ("echo bye; kill -TERM $$", "killed by SIGTERM: bye"),
        ("kill -40 $$", "killed by signal 40"),
    ],
)
async def test_anything_but_0_is_a_failure(shell: Make, delivery: Delivery, line: str, message: str) -> None:
    with pytest.raises(HookError) as caught:
        await shell(line).send(delivery)
    assert caught.value.message == message
    assert not caught.value.later


async def test_75_asks_for_a_later_try(shell: Make, delivery: Delivery) -> None:
    with pytest.raises(HookError, match=r"^asked to be tried again later: not ready$") as caught:
        await shell("echo not ready; exit 75").send(delivery)
    assert caught.value.later


async def test_little_of_a_large_output_is_kept(shell: Make, delivery: Delivery) -> None:
    answer = await shell(
        "yes 0123456789 | head -c 5000000; yes err | head -c 5000000 >&2; echo; echo end"
    ).send(delivery)
    assert answer is not None
    assert len(answer) <= KEPT
    assert answer.endswith("end")


async def test_input_that_is_not_read_is_no_trouble(shell: Make, delivery: Delivery) -> None:
    assert (
        await shell("exec <&-; exit 0").send(replace(delivery, body=delivery.body + b" " * 200_000)) is None
    )


async def test_a_program_that_is_not_there_is_named(make: Make, delivery: Delivery, tmp_path: Path) -> None:
    for hook, message in (
        (make("./nope.sh"), f"no program {tmp_path}/nope.sh"),
        (make("no-such-program"), "no program no-such-program on PATH"),
    ):
        assert hook.problems() == {"command": message}
        with pytest.raises(HookError, match="no program"):
            await hook.check()
        with pytest.raises(HookError, match="no program"):
            await hook.send(delivery)


async def test_a_script_is_found_beside_its_file(make: Make, delivery: Delivery, tmp_path: Path) -> None:
    script = tmp_path / "hook.sh"
    script.write_text("#!/bin/sh\necho ran $1\n")
    hook = make("./hook.sh", "it")
    assert hook.problems() == {
        "command": f"{tmp_path}/./hook.sh cannot be run: chmod +x it".replace("/./", "/")
    }
    script.chmod(0o755)
    assert hook.problems() == {}
    await hook.check()
    assert await hook.send(delivery) == "ran it"
    assert hook.origin == "./hook.sh it"


async def test_a_script_without_interpreter_is_a_failure(
    make: Make, delivery: Delivery, tmp_path: Path
) -> None:
    script = tmp_path / "hook.sh"
    script.write_bytes(b"\x7fELF not really")
    script.chmod(0o755)
    with pytest.raises(HookError, match=r"cannot run .*hook\.sh: Exec format error"):
        await make("./hook.sh").send(delivery)


@pytest.fixture
def living(tmp_path: Path) -> Iterator[int]:
    """A pipe that all who ran `exec 9>living` hold open, and that ends with the last of them."""
    os.mkfifo(tmp_path / "living")
    reader = os.open(tmp_path / "living", os.O_RDONLY | os.O_NONBLOCK)
    yield reader
    os.close(reader)


async def _all_gone(living: int, pids: list[int]) -> None:
    with anyio.fail_after(30):
        await anyio.wait_readable(living)
        for pid in pids:
            await _dead(pid)
    assert os.read(living, 1) == b""


async def _dead(pid: int) -> None:
    if sys.platform == "linux":  # elsewhere the pipe alone has to do
        try:
            handle = os.pidfd_open(pid)
        except ProcessLookupError:
            return
        try:
            await anyio.wait_readable(handle)
        finally:
            os.close(handle)


def _pids(path: Path) -> list[int]:
    return [int(word) for word in path.read_text().split()]


async def test_a_timeout_leaves_nobody(shell: Make, delivery: Delivery, tmp_path: Path, living: int) -> None:
    line = (
        "exec 9>living; echo $$ >pids; sh -c 'echo $$ >>pids; sleep 600' & sleep 600 & echo $! >>pids;"
        " echo going >&2; wait"
    )
    with pytest.raises(HookError, match=r"^uncertain: not done after 1 s, killed: going$"):
        await shell(line, timeout="1s").send(delivery)
    pids = _pids(tmp_path / "pids")
    assert len(pids) == 3
    await _all_gone(living, pids)


async def test_one_that_ignores_the_request_to_stop_is_killed(
    shell: Make, delivery: Delivery, tmp_path: Path, living: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_process, "GRACE", timedelta(milliseconds=100))
    line = (
        "exec 9>living; trap '' TERM; echo $$ >pids; (trap '' TERM; while :; do sleep 1; done) &"
        " echo $! >>pids; wait; wait"
    )
    with pytest.raises(HookError, match=r"^uncertain"):
        await shell(line, timeout="1s").send(delivery)
    await _all_gone(living, _pids(tmp_path / "pids"))


async def test_it_may_tidy_up_when_asked_to_stop(shell: Make, delivery: Delivery, tmp_path: Path) -> None:
    line = "trap 'echo tidy >done; exit 0' TERM; sleep 600 & wait"
    with pytest.raises(HookError, match=r"^uncertain"):
        await shell(line, timeout="1s").send(delivery)
    assert (tmp_path / "done").read_text() == "tidy\n"


async def test_cancelling_leaves_nobody(shell: Make, delivery: Delivery, tmp_path: Path, living: int) -> None:
    os.mkfifo(tmp_path / "ready")
    hook = shell("exec 9>living; sleep 600 & echo $$ $! >pids; echo >ready; wait")
    async with anyio.create_task_group() as group:
        group.start_soon(hook.send, delivery)
        await anyio.to_thread.run_sync((tmp_path / "ready").read_text)
        group.cancel_scope.cancel()
    await _all_gone(living, _pids(tmp_path / "pids"))


async def test_a_grandchild_that_holds_the_output_does_not_hold_us(
    shell: Make, delivery: Delivery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_process, "LINGER", timedelta(milliseconds=100))
    assert await shell("sleep 600 & echo $! >pids; echo done", timeout="1h").send(delivery) == "done"
    (pid,) = _pids(tmp_path / "pids")
    os.kill(pid, signal.SIGKILL)  # a child that was left in the background on purpose is left alone


async def test_no_descriptor_is_left_open(shell: Make, delivery: Delivery) -> None:
    await shell("true").send(delivery)
    before = len(os.listdir("/dev/fd"))
    for _ in range(5):
        await shell("true").send(delivery)
    assert len(os.listdir("/dev/fd")) == before


def test_the_deadline_covers_being_ended(make: Make) -> None:
    assert make("a", timeout="5m").deadline > timedelta(minutes=5)
    assert CommandOptions.model_validate({"kind": "command", "command": ["a"]}).timeout == timedelta(
        minutes=5
    )
