"""The ledger is complete, on the disk before the answer, and outlives SIGKILL."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from orchestrator.sandbox import Options, serve, spawn, start
from orchestrator.sandbox.server import KEEP_ALIVE_SECONDS

from .box import COHERE_JOB, CREATES, Box


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_everything_survives_sigkill(tmp_path: Path) -> None:
    state = tmp_path / "ledger.jsonl"
    child = start(state, Options(clock="manual", stage_seconds=10))
    box = Box(child.url)
    for provider in CREATES:
        assert box.create(provider).is_success
    job = box.lists("oxen")["fine_tunes"][0]["id"]
    box.client.post(f"{CREATES['oxen'][0]}/{job}/actions/run").raise_for_status()
    gone = box.create("cartesia").json()["id"]
    box.client.delete(f"/cartesia/fine-tunes/{gone}").raise_for_status()
    box.advance(15)
    box.create("cartesia", surprise=1)
    before, jobs = box.ledger(), [box.lists(provider) for provider in CREATES]
    child.kill()
    box.client.close()
    with state.open("a") as torn:
        torn.write('{"seq": 999, "torn')
    with spawn(state, Options(clock="manual", stage_seconds=10)) as url:
        box = Box(url)
        with box.client:
            after = box.ledger()
            assert after["requests"][: len(before["requests"])] == before["requests"]
            assert (after["created"], after["paid"]) == (before["created"], before["paid"])
            assert [box.lists(provider) for provider in CREATES] == jobs
            assert box.create("cartesia").is_success
    assert state.stat().st_mode & 0o077 == 0
    assert len({line["seq"] for line in lines(state)}) == len(lines(state))


def test_a_line_is_written_before_its_answer(tmp_path: Path) -> None:
    state = tmp_path / "ledger.jsonl"
    with spawn(state, Options()) as url:
        box = Box(url)
        with box.client:
            for nr in range(1, 4):
                box.create("cartesia", name=f"n{nr}")
                assert len(lines(state)) == nr
            made = lines(state)[-1]
    assert made["outcome"] == "accepted"
    assert [made[key] for key in ("provider", "method", "path", "auth", "status")] == [
        "cartesia",
        "POST",
        "/fine-tunes/",
        True,
        200,
    ]


def test_a_key_in_a_body_is_not_kept(tmp_path: Path) -> None:
    state = tmp_path / "ledger.jsonl"
    wandb = {"project": "p", "api_key": "canary-wandb"}
    settings = {"settings": {**COHERE_JOB["settings"], "wandb": wandb}}
    with spawn(state, Options()) as url:
        box = Box(url)
        with box.client:
            assert box.create("cohere", **settings).is_success
            assert "canary" not in json.dumps(box.ledger())
    assert "canary" not in state.read_text()
    assert "Bearer" not in state.read_text()


def test_pages_of_the_ledger(sandbox: Box) -> None:
    for _ in range(5):
        sandbox.lists("cartesia")
    sandbox.lists("cohere")
    rows = sandbox.ledger(provider="cartesia")["requests"]
    assert len(rows) == 5
    assert sandbox.ledger(provider="cartesia", limit=2)["requests"] == rows[-2:]
    assert sandbox.ledger(provider="cartesia", limit=2, after=rows[1]["seq"])["requests"] == rows[2:4]
    assert list(sandbox.ledger(provider="cartesia")["paid"]) == ["cartesia"]
    assert sandbox.client.get("/_sandbox/ledger", params={"limit": "x"}).status_code == 400


def test_accounts_are_apart(sandbox: Box) -> None:
    sandbox.create("cartesia")
    other = httpx.get(
        f"{sandbox.url}{CREATES['cartesia'][0]}",
        headers={"authorization": "Bearer second:key", "cartesia-version": "2026-03-01"},
    )
    assert other.json()["data"] == []


def test_two_processes_never_share_a_file(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    state = tmp_path / "ledger.jsonl"
    with spawn(state), pytest.raises(OSError, match="did not start"), spawn(state):
        pass
    assert "in use" in capfd.readouterr().err


async def test_a_port_in_use_is_an_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(OSError, match="in use"):
        await serve(port=taken.getsockname()[1], state=None, options=Options(), ready=lambda _: None)


async def test_serving_ends_when_cancelled() -> None:
    ports: asyncio.Queue[int] = asyncio.Queue()
    task = asyncio.create_task(serve(port=0, state=None, options=Options(), ready=ports.put_nowait))
    port = await ports.get()
    async with httpx.AsyncClient() as client:
        assert (await client.get(f"http://127.0.0.1:{port}/_sandbox/health")).json()["ok"]
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
        pass


def test_the_child_dies_with_its_parent() -> None:
    program = (
        "import sys, time\nfrom orchestrator.sandbox import start\n"
        "child = start()\nprint(child.process.pid, child.url, flush=True)\nsys.stdin.read()"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert parent.stdout is not None
    assert parent.stdin is not None
    pid, url = parent.stdout.readline().decode().split()
    port = int(url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=10) as link:
        os.kill(parent.pid, signal.SIGKILL)
        parent.wait()
        assert link.recv(1) == b""  # it ended, or this would time out
    assert int(pid) != parent.pid
    parent.stdout.close()
    parent.stdin.close()


def test_a_client_gives_up_an_idle_connection_before_the_sandbox_does() -> None:
    """Else it may write to a connection that is being closed, and hear "Server disconnected"."""
    expiry = httpx.Limits().keepalive_expiry
    assert expiry is not None
    assert expiry < KEEP_ALIVE_SECONDS


def test_ctrl_c_never_reaches_the_child() -> None:
    """Nor in the moment before it is in a group of its own, where no test can aim."""
    child = start()
    os.kill(child.process.pid, signal.SIGINT)
    assert httpx.get(f"{child.url}/_sandbox/health").json()["ok"]
    child.stop()
    assert child.process.returncode == 0


def test_half_a_request_is_none(sandbox: Box) -> None:
    port = int(sandbox.url.rpartition(":")[2])
    head = b"POST /cartesia/fine-tunes/ HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{"
    for sent in (head, head[:40]):
        with socket.create_connection(("127.0.0.1", port)) as link:
            link.sendall(sent)
    sandbox.lists("cartesia")
    assert [row["method"] for row in sandbox.ledger()["requests"]] == ["GET"]


def test_the_command_line(tmp_path: Path) -> None:
    module = [sys.executable, "-m", "orchestrator.sandbox"]
    wrong = subprocess.run([*module, "--stage-seconds", "-1"], capture_output=True, text=True, check=False)
    assert (wrong.returncode, wrong.stderr) == (2, "sandbox: a duration must not be negative\n")
    command = [*module, "--port", "0", "--state", str(tmp_path / "x.jsonl"), "--speed", "4"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().split()[-1]
        assert httpx.get(f"{url}/_sandbox/health").json()["ok"]
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
