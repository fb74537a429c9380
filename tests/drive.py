"""Drives the installed command in a folder of its own; the sandbox's ledger is the oracle."""

import itertools
import json
import os
import pty
import select
import shutil
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest
from listener import Listener, listening
from warm import Forked, Warm, warm

from orchestrator.hooks.webhook import make_secret
from orchestrator.sandbox import Options, spawn

T = TypeVar("T")
COMMAND = str(Path(sys.executable).with_name("orchestrator"))
COLD = "ORCHESTRATOR_TEST_COLD"
"""Set, it starts a new interpreter for every command, where a warm one is forked otherwise."""
SECONDS = 60.0
"""Longest that one command may take, and longest that anything is waited for."""
_places = itertools.count(1)


def eventually(check: Callable[[], T], what: str = "it", seconds: float = SECONDS) -> T:
    """Ask until `check` gives something true, and return that."""
    ends = time.monotonic() + seconds
    while not (found := check()):
        if time.monotonic() > ends:
            pytest.fail(f"{what} did not come about within {seconds:g} s")
        time.sleep(0.02)
    return found


def clean(err: str) -> None:
    """Check that a person was told something, not shown our insides."""
    assert "Traceback" not in err, err
    assert "this is a bug" not in err, err
    assert "loop.broke" not in err, err


@dataclass(frozen=True, kw_only=True)
class Result:
    """How one command ended."""

    args: tuple[str, ...]
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """What it printed, as the one document that it must be."""
        return json.loads(self.out)

    @property
    def lines(self) -> list[Any]:
        """What it printed, as lines of JSON."""
        return [json.loads(line) for line in self.out.splitlines()]


@dataclass(frozen=True, kw_only=True)
class Ledger:
    """What the providers were asked since the place was made, and what they made and charged for."""

    requests: Sequence[Mapping[str, Any]]
    created: Mapping[str, Sequence[Mapping[str, Any]]]
    paid: Mapping[str, Sequence[str]]

    def asked(self, operation: str, provider: str | None = None) -> list[Mapping[str, Any]]:
        """Return the requests of one kind."""
        return [
            row
            for row in self.requests
            if row["operation"] == operation and provider in (None, row["provider"])
        ]

    @property
    def refused(self) -> list[Mapping[str, Any]]:
        """Return what a specification does not allow."""
        return [row for row in self.requests if row["outcome"] == "refused"]

    @property
    def counts(self) -> Mapping[str, int]:
        """Return how many fine-tunes each provider made."""
        return {provider: len(made) for provider, made in self.created.items()}


class Running:
    """A command that goes on, such as the daemon; its log is read from a file."""

    def __init__(self, process: "subprocess.Popen[bytes] | Forked", out: Path, err: Path) -> None:
        self.process, self._out, self._err = process, out, err

    @property
    def out(self) -> str:
        return self._out.read_text()

    @property
    def err(self) -> str:
        return self._err.read_text()

    @property
    def log(self) -> list[dict[str, Any]]:
        """Return the log lines that are whole."""
        lines = self.err.split("\n")[:-1]
        return [json.loads(line) for line in lines if line.startswith("{")]

    def said(self, event: str, **fields: Any) -> dict[str, Any] | None:
        """Return the last log line of this event with these fields."""
        wanted = {"event": event, **fields}
        found = [row for row in self.log if wanted.items() <= row.items()]
        return found[-1] if found else None

    def until(self, event: str, **fields: Any) -> dict[str, Any]:
        """Wait for a log line."""

        def look() -> dict[str, Any] | None:
            found = self.said(event, **fields)
            if found is None and self.process.poll() is not None:
                pytest.fail(f"it ended with {self.process.returncode} before {event} {fields}:\n{self.err}")
            return found

        try:
            found = eventually(look, f"{event} {fields}")
        except pytest.fail.Exception:
            print(self.err)  # noqa: T201 - pytest shows it with the failure
            raise
        assert found is not None
        return found

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def wait(self, seconds: float = SECONDS) -> int:
        """Wait for its end and return the exit code."""
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            pytest.fail(f"it still runs after {seconds:g} s:\n{self.err}")
        clean(self.err)
        return code

    def wait_or_kill(self, seconds: float) -> None:
        """Kill it after this time, unless it has ended by then."""
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
        clean(self.err)

    def stop(self) -> int:
        """Ask it to end as a service manager does."""
        self.signal(signal.SIGTERM)
        return self.wait()


@dataclass
class Place:
    """A user's folder with its job files and its environment, and accounts that nobody else uses."""

    folder: Path
    url: str
    client: httpx.Client
    warm: Warm | None = None
    """Where to fork commands from; without it each is a new interpreter."""
    name: str = field(default_factory=lambda: f"p{next(_places)}")
    env: dict[str, str] = field(default_factory=dict)
    prefix: tuple[str, ...] = ()
    """What stands before the command, such as `prlimit`."""
    _started: list[Running] = field(default_factory=list)
    _seq: int = 0

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        kept = {name: value for name, value in os.environ.items() if name.startswith(("COVERAGE", "PYTHON"))}
        key = f"{self.name}:dummy-key-0123456789"
        self.env |= kept | {
            "PATH": f"{Path(COMMAND).parent}:{os.environ['PATH']}",
            "HOME": str(self.folder),
            "LC_ALL": "C.UTF-8",
            "ORCHESTRATOR_POLL_INTERVAL": "1s",
            "ORCHESTRATOR_LISTEN": "",
            **dict.fromkeys(("CARTESIA_API_KEY", "OXEN_API_KEY", "CLOUDFLARE_API_TOKEN", "CO_API_KEY"), key),
        }
        self.calm()
        requests = self._sandbox("GET", "/ledger", params={"limit": 1})["requests"]
        self._seq = requests[-1]["seq"] if requests else 0

    # The command.

    def __call__(
        self, *args: str, code: int | None = 0, env: Mapping[str, str] | None = None, cwd: Path | None = None
    ) -> Result:
        """Run `orchestrator *args` to its end, without a terminal; `code` is how it must end."""
        running = self.start(*args, env=env, cwd=cwd)
        found = running.wait()
        result = Result(args=args, code=found, out=running.out, err=running.err)
        if code is not None:
            assert found == code, f"{args} ended with {found}\n{result.out}\n{result.err}"
        return result

    def typed(self, answer: str, *args: str, columns: int = 80) -> Result:
        """Run a command on a terminal of its own, where a person types `answer`; all it says is in `out`."""
        ours, theirs = pty.openpty()
        termios.tcsetwinsize(theirs, (24, columns))
        with os.fdopen(ours, "r+b", buffering=0) as screen:
            process = subprocess.Popen(
                [COMMAND, *args], cwd=self.folder, env=self.env, stdin=theirs, stdout=theirs, stderr=theirs
            )
            os.close(theirs)
            screen.write(f"{answer}\n".encode())
            seen = b""
            while chunk := _read(screen):
                seen += chunk
            code = process.wait(SECONDS)
        text = seen.decode().replace("\r\n", "\n")
        clean(text)
        return Result(args=args, code=code, out=text, err="")

    def shown(self, *args: str, columns: int = 80, env: Mapping[str, str] | None = None) -> str:
        """Run a command whose output is a terminal of so many columns, and return all that it shows there."""
        ours, theirs = pty.openpty()
        termios.tcsetwinsize(theirs, (24, columns))
        screen = Path(os.ttyname(theirs))
        running = self._launch(args, {**self.env, **(env or {})}, self.folder, screen, screen)
        with os.fdopen(ours, "rb", buffering=0) as reader, os.fdopen(theirs):
            seen = b""
            ends = time.monotonic() + SECONDS
            while running.poll() is None or select.select([reader], [], [], 0)[0]:
                if select.select([reader], [], [], 0.02)[0]:
                    seen += _read(reader)
                elif time.monotonic() > ends:
                    running.kill()
                    pytest.fail(f"{args} still runs")
        text = seen.decode().replace("\r\n", "\n")
        clean(text)
        return text

    def piped(self, command: str, reader: str) -> str:
        """Give the output of a command to a shell's reader, and return what that prints."""
        line = f"set -o pipefail; {COMMAND} {command} | {reader}"
        done = subprocess.run(
            ["bash", "-c", line], cwd=self.folder, env=self.env, capture_output=True, timeout=SECONDS
        )
        clean(done.stderr.decode())
        assert done.returncode == 0, done.stderr
        return done.stdout.decode()

    def together(self, *calls: Sequence[str], code: int | None = 0) -> list[Result]:
        """Run several commands that only read, beside each other."""
        with ThreadPoolExecutor(4) as pool:
            return list(pool.map(lambda args: self(*args, code=code), calls))

    def start(self, *args: str, env: Mapping[str, str] | None = None, cwd: Path | None = None) -> Running:
        """Start a command that goes on; it is ended with the test."""
        number = next(_places)
        out, err = (self.folder.parent / f"{number}.{end}" for end in ("out", "err"))
        whole, cwd = {**self.env, **(env or {})}, cwd or self.folder
        out.touch()
        err.touch()
        process = self._launch(args, whole, cwd, out, err)
        running = Running(process, out, err)
        self._started.append(running)
        return running

    def _launch(
        self, args: Sequence[str], env: Mapping[str, str], cwd: Path, out: Path, err: Path
    ) -> "subprocess.Popen[bytes] | Forked":
        if self.warm is not None and not self.prefix and "ORCHESTRATOR_CRASH" not in env:
            return self.warm.start(args, env, cwd, out, err)
        with out.open("wb") as stdout, err.open("wb") as stderr:
            return subprocess.Popen(
                [*self.prefix, COMMAND, *args],
                cwd=cwd,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
            )

    def end(self) -> None:
        """End whatever still runs."""
        for each in self._started:
            if each.process.poll() is None:
                each.kill()

    def up(self, *args: str, code: int = 0) -> Running:
        """Run the daemon until everything is settled, and return its log."""
        daemon = self.start("up", "--until-settled", "--timeout", "50s", *args)
        found = daemon.wait()
        assert found == code, f"up ended with {found}\n{daemon.err}"
        return daemon

    # What it wrote down.

    def jobs(self, *names: str) -> dict[str, dict[str, Any]]:
        """Return what `status --json` says of each job."""
        return {job["job"]: job for job in self("status", "--json", *names).json["jobs"]}

    def job(self, name: str) -> dict[str, Any]:
        return self.jobs(name)[name]

    def events(self, *args: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self("events", "--json", *args).json["events"]
        return found

    def until(self, check: Callable[[], T], what: str = "it") -> T:
        """Wait for something to be so."""
        return eventually(check, what)

    # The files.

    def write(self, *jobs: str, settings: str = "", accounts: str = "", name: str = "jobs.toml") -> Path:
        """Write a job file with the four accounts, pointed at the sandbox."""
        head = f'[orchestrator]\nproject = "{self.name}"\n{settings}\n' + (accounts or self.accounts())
        path = self.folder / name
        path.write_text("\n".join([head, *jobs]))
        return path

    def accounts(self, **extra: str) -> str:
        """Write the tables of the four accounts, each with `extra` lines."""
        own = {
            "cartesia": "",
            "oxen": f'namespace = "acme"\nrepo = "{self.name}"\n',
            "cloudflare": f'account_id = "{self.name}"\n',
            "cohere": "",
        }
        paths = {kind: "cloudflare/client/v4" if kind == "cloudflare" else kind for kind in own}
        return "\n".join(
            f'[providers.{kind}]\nbase_url = "{self.url}/{paths[kind]}"\nrequests_per_second = 1000\n'
            f"{lines}{extra.get(kind, '')}\n"
            for kind, lines in own.items()
        )

    def adapter(self, content: bytes = bytes(4096)) -> None:
        """Put a ready adapter where `CLOUDFLARE` has it."""
        folder = self.folder / "adapter"
        folder.mkdir(exist_ok=True)
        (folder / "adapter_config.json").write_text('{"model_type": "mistral", "r": 8}')
        (folder / "adapter_model.safetensors").write_bytes(content)

    # The sandbox.

    def _sandbox(self, method: str, path: str, **given: Any) -> Any:
        reply = self.client.request(method, f"{self.url}/_sandbox{path}", **given)
        assert reply.status_code == 200, reply.text
        return reply.json()

    def ledger(self) -> Ledger:
        """Read the sandbox's ledger, as far as it is about this place."""
        found = self._sandbox("GET", "/ledger", params={"after": self._seq, "limit": 20_000})
        mine = (self.name, f"acme/{self.name}", "")
        created = {
            kind: [row for row in rows if row["account"] in mine] for kind, rows in found["created"].items()
        }
        ids = {row["id"] for rows in created.values() for row in rows}
        paid = {kind: [one for one in rows if one in ids] for kind, rows in found["paid"].items()}
        requests = [row for row in found["requests"] if row["account"] in mine]
        return Ledger(requests=requests, created=created, paid=paid)

    def fault(self, kind: str, **order: Any) -> None:
        """Order the sandbox to misbehave; once, unless `times` says otherwise."""
        self._sandbox("POST", "/faults", json={"kind": kind, **order})

    def calm(self) -> None:
        """End all misbehaviour."""
        self._sandbox("DELETE", "/faults")

    def set(self, provider: str, remote_id: str, status: str) -> None:
        """Let a provider give a fine-tune this status."""
        self._sandbox("POST", "/set", json={"provider": provider, "id": remote_id, "status": status})

    def seed(self, provider: str, **fields: str) -> str:
        """Let a fine-tune exist that nobody here asked for, and return its id."""
        account = f"acme/{self.name}" if provider == "oxen" else self.name
        order = {"provider": provider, "account": account, **fields}
        made: str = self._sandbox("POST", "/seed", json=order)["ids"][0]
        return made

    def remove(self, provider: str, remote_id: str) -> None:
        """Let a fine-tune vanish at its provider."""
        self._sandbox("POST", "/remove", json={"provider": provider, "id": remote_id})


def _read(screen: FileIO) -> bytes:
    try:
        return screen.read(65536) or b""
    except OSError:
        return b""  # the other side is closed


@pytest.fixture
def listener(place: Place) -> Iterator[Listener]:
    """A receiver of webhooks; the place has its secret in TEAM_HOOK_SECRET."""
    with listening(make_secret()) as found:
        place.env["TEAM_HOOK_SECRET"] = found.secret
        yield found


def cartesia(name: str, *lines: str, account: str = "cartesia", **spec: str) -> str:
    """Declare a Cartesia job; `lines` go into its table, `spec` over its spec."""
    fields = {
        "description": "A voice",
        "language": "en",
        "model_id": "sonic-3-2026-01-12",
        "dataset": f"ds-{name}",
    } | spec
    return _table(name, account, lines, fields)


def oxen(name: str, *lines: str, **spec: str) -> str:
    """Declare an Oxen job."""
    fields = {
        "resource": f"main/{name}.parquet",
        "base_model": "meta-llama/Llama-3.2-1B-Instruct",
        "script_type": "text_generation",
    } | spec
    return _table(name, "oxen", lines, fields)


def cloudflare(name: str, *lines: str) -> str:
    """Declare a Cloudflare job, which uploads the folder `adapter`."""
    fields = {"model": "@cf/mistral/mistral-7b-instruct-v0.2-lora", "adapter": "adapter"}
    return _table(name, "cloudflare", lines, fields)


def cohere(name: str, *lines: str, dataset: str = "labels-1") -> str:
    """Declare a Cohere job."""
    table = _table(name, "cohere", lines, {})
    base = 'base_model = { base_type = "BASE_TYPE_CLASSIFICATION" }'
    return f'{table}[jobs.{name}.spec.settings]\ndataset_id = "{dataset}"\n{base}\n'


def _table(name: str, account: str, lines: Sequence[str], fields: Mapping[str, str]) -> str:
    policies = "".join(f"{line}\n" for line in lines)
    spec = "".join(f"{key} = {json.dumps(value)}\n" for key, value in fields.items())
    return f'[jobs.{name}]\nprovider = "{account}"\n{policies}[jobs.{name}.spec]\n{spec}'


@pytest.fixture(scope="session")
def _url() -> Iterator[str]:
    with spawn(None, Options(stage_seconds=0)) as url:
        yield url


@pytest.fixture(scope="session")
def _client() -> Iterator[httpx.Client]:
    with httpx.Client(timeout=20, trust_env=False) as client:
        yield client


@pytest.fixture(scope="session")
def _warm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Warm | None]:
    if os.environ.get(COLD):
        yield None
        return
    with warm(tmp_path_factory.mktemp("warm")) as found:
        yield found


@contextmanager
def placed(place: Place) -> Iterator[Place]:
    """End what runs in `place` when the test ends."""
    try:
        yield place
    finally:
        place.end()
        place.calm()


@pytest.fixture
def place(tmp_path: Path, _url: str, _client: httpx.Client, _warm: Warm | None) -> Iterator[Place]:
    """An empty folder, with accounts of its own at a sandbox whose jobs end at once."""
    with placed(Place(tmp_path / "work", _url, _client, _warm)) as made:
        yield made


def drop_state(place: Place) -> None:
    """Lose the database and all that stands beside it."""
    shutil.rmtree(place.folder / ".orchestrator")
