"""Where the daemon listens, what it does where the port is taken, and how it ends."""

import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from .daemon import HALF, JOBS, document, orchestrator, running, until

DEFAULT = 8787


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that somebody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        yield other.getsockname()[1]


@pytest.fixture
def default_taken() -> Iterator[None]:
    """Somebody listens on the default port, be it this test or another program."""
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            other.bind(("127.0.0.1", DEFAULT))
            other.listen()
        except OSError:
            pass
        yield


def test_a_port_that_was_set_and_is_taken_ends_it_before_anything_is_sent(tmp_path: Path, taken: int) -> None:
    (tmp_path / "jobs.toml").write_text(JOBS)
    done = orchestrator(tmp_path, "up", ORCHESTRATOR_LISTEN=f"127.0.0.1:{taken}")
    assert done.returncode == 1
    assert f"error: port {taken} is in use\n  hint: " in done.stderr
    assert document(tmp_path, "status")["jobs"] == []


def test_the_default_that_is_set_in_a_file_does_not_move(tmp_path: Path, default_taken: None) -> None:
    (tmp_path / "jobs.toml").write_text(
        JOBS.replace("hooks =", f'listen = "127.0.0.1:{DEFAULT}"\nhooks =', 1)
    )
    done = orchestrator(tmp_path, "up", ORCHESTRATOR_LISTEN=None)
    assert (done.returncode, f"port {DEFAULT} is in use" in done.stderr) == (1, True)


def test_the_default_moves_to_the_next_free_port_and_says_so(tmp_path: Path, default_taken: None) -> None:
    with running(tmp_path, ORCHESTRATOR_LISTEN=None) as daemon:
        moved = daemon.hear("listen.moved")
        client = daemon.listen()
        assert (moved["taken"], moved["url"]) == (f"127.0.0.1:{DEFAULT}", daemon.url)
        assert DEFAULT < (urlsplit(daemon.url).port or 0) < DEFAULT + 20
        assert client.get("/healthz").json() == {"status": "ok"}
        with closing(sqlite3.connect(tmp_path / ".orchestrator" / "sandbox.db")) as database:
            assert database.execute("select address from daemons").fetchall() == [(daemon.url,)]


def test_nothing_listens_where_it_is_turned_off(tmp_path: Path) -> None:
    (tmp_path / "jobs.toml").write_text(JOBS)
    done = orchestrator(tmp_path, "up", "--until-settled", ORCHESTRATOR_LISTEN="")
    assert done.returncode == 5  # one of the jobs fails
    assert '"listening"' not in done.stderr
    with closing(sqlite3.connect(tmp_path / ".orchestrator" / "sandbox.db")) as database:
        assert database.execute("select address from daemons").fetchall() == [(None,)]


def test_until_settled_serves_until_then(tmp_path: Path) -> None:
    with running(tmp_path, "--until-settled", ORCHESTRATOR_SANDBOX_STAGE_SECONDS="36000") as daemon:
        client = daemon.listen()
        assert client.get("/healthz").status_code == 200
        until(lambda: all(job["remote_id"] for job in daemon.get("/api/v1/jobs")["jobs"]))
        assert daemon.process.poll() is None
        assert daemon.stop() == 0


@pytest.mark.parametrize("listen", ["0.0.0.0:0", "[::]:0"])
def test_off_loopback_it_does_not_start_without_a_token(tmp_path: Path, listen: str) -> None:
    (tmp_path / "jobs.toml").write_text(JOBS)
    done = orchestrator(tmp_path, "up", ORCHESTRATOR_LISTEN=listen, ORCHESTRATOR_TOKEN=None)
    assert done.returncode == 2
    assert f"error: {listen} can be reached from other machines" in done.stderr
    assert "hint: set ORCHESTRATOR_TOKEN" in done.stderr
    assert document(tmp_path, "status")["jobs"] == []


@pytest.mark.parametrize(
    ("listen", "reason"),
    [("192.0.2.1:0", "error: cannot listen on 192.0.2.1:0: "), ("no.invalid:0", "no such host")],
)
def test_an_address_that_this_machine_does_not_have(tmp_path: Path, listen: str, reason: str) -> None:
    (tmp_path / "jobs.toml").write_text(JOBS)
    done = orchestrator(tmp_path, "up", ORCHESTRATOR_LISTEN=listen)
    assert (done.returncode, reason in done.stderr) == (2, True)


@pytest.mark.parametrize("listen", ["localhost:0", "[::1]:0"])
def test_other_names_of_this_machine_alone(tmp_path: Path, listen: str) -> None:
    with running(tmp_path, ORCHESTRATOR_LISTEN=listen, ORCHESTRATOR_TOKEN=None) as daemon:
        assert daemon.listen().get("/api/v1/jobs").status_code == 200
        assert daemon.url.startswith(f"http://{listen.rpartition(':')[0]}:")


def test_it_ends_in_order_under_open_connections_and_its_port_is_free_at_once(tmp_path: Path) -> None:
    with running(tmp_path) as first:
        first.listen().get("/healthz").raise_for_status()  # the connection is kept
        port = urlsplit(first.url).port
        with closing(_begin(port, "GET /healthz HTTP/1.1\r\n")), closing(_begin(port, HALF)):
            assert first.stop() == 0
        assert "exception" not in first.rest()
    with running(tmp_path, ORCHESTRATOR_LISTEN=f"127.0.0.1:{port}") as second:
        assert second.listen().get("/healthz").status_code == 200


def _begin(port: int | None, text: str) -> socket.socket:
    link = socket.create_connection(("127.0.0.1", port or 0))
    link.sendall(text.encode())
    return link


def test_only_up_loads_the_web() -> None:
    code = """
import sys
import orchestrator.cli.apply, orchestrator.cli.demo, orchestrator.cli.status, orchestrator.daemon.daemon
sys.exit(str({"fastapi", "starlette", "uvicorn"} & set(sys.modules) or ""))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == ""
