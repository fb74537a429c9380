"""Kills the program at a named point, lets it go on until it has settled, and compares the two sets of books.

Time that would be waited for is let go by instead: while no program runs (or one that is stopped), all times
in its database become older, and the sandbox's clock goes forward by as much (`Books.elapse`).
"""

import json
import random
import shutil
import signal
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from threading import Event
from typing import Any
from urllib.parse import urlsplit

from listener import Listener, listening

from crash.books import Books, Ledger, Sandbox, words
from crash.proxy import WIRE, Proxy, Trap
from crash.runner import Process, Runner
from orchestrator.hooks.webhook import make_secret
from orchestrator.sandbox import Options, spawn

DRIVERS = ("cartesia", "oxen", "cloudflare", "cohere")
DATABASES = ("sqlite", "postgres")
WINDOW = 60
"""The account's doubt_window, in seconds."""
STEPS = (0, 20, 120, 120, 1000, 4000, 4000)
"""How long the program is down before each further start."""
HOUR = 3600
STAGE_SECONDS = 100.0
"""Longest for one start of the program."""
STILL = 6.0
"""How long the lease is of a program that is stopped until another one has taken over, in seconds."""
EVENTS = ("submitted", "queued", "running", "succeeded", "failed", "cancelled", "lost", "in_doubt")
PREFIX = {
    "cartesia": b"POST /cartesia/fine-tunes/ ",
    "oxen": b"POST /oxen/api/repos/acme/%s/fine_tunes ",
    "cloudflare": b"POST /cloudflare/client/v4/accounts/%s/ai/finetunes ",
    "cohere": b"POST /cohere/v1/finetuning/finetuned-models ",
}
SIGNALS = {"kill": signal.SIGKILL, "term": signal.SIGTERM, "stop": signal.SIGSTOP}


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """One script: what is done, where it is hit and how, and what the provider does wrong meanwhile."""

    seed: int
    driver: str = "cartesia"
    database: str = "sqlite"
    point: str = "intent-stored"
    action: str = "kill"
    count: int = 1
    """At which of its visits the point is hit."""
    command: str = "up"
    jobs: int = 3
    before: str = ""
    """What happened earlier: `wiped` (all was bought, then the database was lost), `lost` (an answer was)."""
    faults: tuple[tuple[str, tuple[tuple[str, Any], ...]], ...] = ()
    resend: bool = False
    cold: bool = False
    takeover: bool = False
    """While the program is stopped its lease ends, and another one goes on."""
    cut: bool = False
    """While the program is stopped the server ends every connection of it, as in a failover."""
    alarm: float = 0.0
    back: bool = False
    """While the program is down its clock is put back by an hour."""

    def replay(self) -> str:
        """Write it down so that it can be made again."""
        changed = {key: value for key, value in asdict(self).items() if value != _DEFAULTS.get(key)}
        return json.dumps(changed)


_DEFAULTS = asdict(Scenario(seed=0))


@dataclass
class Outcome:
    """What one scenario came to; the three lists are the oracle's findings."""

    scenario: Scenario
    hit: bool = False
    died: bool = False
    kills: int = 0
    runs: int = 0
    paid: int = 0
    parked: int = 0
    doubted: bool = False
    """Some run was in doubt."""
    duplicates: list[str] = field(default_factory=list)
    losses: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    events: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def findings(self) -> list[str]:
        """Everything that must not be."""
        return [*self.duplicates, *self.losses, *self.wrong, *self.events]


class Stage:
    """What scenarios run on, one after another: a sandbox, a proxy before it, a receiver, databases."""

    def __init__(self, folder: Path, runner: Runner, postgres: str | None, template: Path) -> None:
        self.folder, self.runner, self.postgres, self.template = folder, runner, postgres, template
        self.number = 0
        self._stack = ExitStack()
        url = self._stack.enter_context(spawn(None, Options(stage_seconds=0)))
        self.sandbox = Sandbox(url)
        self._stack.callback(self.sandbox.close)
        parts = urlsplit(url)
        assert parts.hostname is not None
        assert parts.port is not None
        self.proxy = Proxy((parts.hostname, parts.port))
        self._stack.callback(self.proxy.close)
        self.listener: Listener = self._stack.enter_context(listening(make_secret()))

    def close(self) -> None:
        self._stack.close()

    def run(self, scenario: Scenario) -> Outcome:
        """Play one scenario from an empty database to its end."""
        self.number += 1
        return Play(self, scenario).run()


@contextmanager
def stage(folder: Path, runner: Runner, postgres: str | None, template: Path) -> Iterator[Stage]:
    """Open a stage for the length of a `with`; `template` is an SQLite file with the schema."""
    made = Stage(folder, runner, postgres, template)
    try:
        yield made
    finally:
        made.close()


class Play:
    """One scenario under way."""

    def __init__(self, stage: Stage, scenario: Scenario) -> None:
        self.stage, self.scenario = stage, scenario
        self.name = f"s{stage.folder.name}{stage.number}"
        self.folder = stage.folder / self.name
        self.folder.mkdir()
        self.draw = random.Random(scenario.seed)  # noqa: S311 - to be drawn again
        self.outcome = Outcome(scenario)
        self.state = self.folder / ".orchestrator"
        self.state.mkdir(mode=0o700)
        if scenario.database == "sqlite":
            url = f"sqlite:///{self.state}/state.db"
            if scenario.point != "migrating":
                shutil.copy(stage.template, self.state / "state.db")
        else:
            assert stage.postgres is not None
            url = stage.postgres
        self.books = Books(url)
        if scenario.database == "postgres":
            self.books.clear()
        key = f"{self.name}:dummy-key-0123456789"
        self.env = {
            "PATH": "/usr/bin:/bin",
            "HOME": str(self.folder),
            "LC_ALL": "C.UTF-8",
            "NO_COLOR": "1",
            "TEAM_HOOK_SECRET": stage.listener.secret,
            "ORCHESTRATOR_DATABASE": url,
            "ORCHESTRATOR_POLL_INTERVAL": "1s",
            "ORCHESTRATOR_LISTEN": "",
            **dict.fromkeys(("CARTESIA_API_KEY", "OXEN_API_KEY", "CLOUDFLARE_API_TOKEN", "CO_API_KEY"), key),
        }
        self.after = stage.sandbox.seq()
        self.heard = len(stage.listener.messages)
        self.refused = stage.listener.refused
        self.logs = 0
        self._write()

    # The files.

    def _write(self) -> None:
        scenario, kind = self.scenario, self.scenario.driver
        path = "cloudflare/client/v4" if kind == "cloudflare" else kind
        own = {
            "oxen": f'namespace = "acme"\nrepo = "{self.name}"\n',
            "cloudflare": f'account_id = "{self.name}"\n',
        }
        wanted = ", ".join(f'"job.{name}"' for name in EVENTS)
        head = (
            f'[orchestrator]\nproject = "{self.name}"\nhooks = ["team"]\n\n'
            f'[hooks.team]\nkind = "webhook"\nurl = "{self.stage.listener.url}"\nallow_private = true\n'
            f'secret = {{ env = "TEAM_HOOK_SECRET" }}\nevents = [{wanted}]\n\n'
            f'[providers.{kind}]\nbase_url = "{self.stage.proxy.url}/{path}"\n{own.get(kind, "")}'
            f'requests_per_second = 200\ndoubt_window = "{WINDOW}s"\n'
            f'after_doubt = "{"resend" if scenario.resend else "park"}"\n'
        )
        jobs = [_job(kind, f"job{number}") for number in range(scenario.jobs)]
        (self.folder / "jobs.toml").write_text("\n".join([head, *jobs]))
        if kind == "cloudflare":
            adapter = self.folder / "adapter"
            adapter.mkdir()
            (adapter / "adapter_config.json").write_text('{"model_type": "mistral", "r": 8}')
            (adapter / "adapter_model.safetensors").write_bytes(bytes(2048))

    # The program.

    def start(self, *args: str, crash: str = "", cold: bool = False, alarm: float = 0) -> Process:
        """Start the program; `crash` is the point that it is to be hit at by itself."""
        self.logs += 1
        env = {**self.env, "ORCHESTRATOR_CRASH": crash} if crash else self.env
        if crash and self.scenario.takeover:
            # From cold: a warm process has read how long a lease is.
            env, cold = {**env, "ORCHESTRATOR_CRASH_LEASE": f"{STILL}"}, True
        return self.stage.runner.start(
            args, cwd=self.folder, env=env, log=f"log{self.logs}", cold=cold, alarm=alarm
        )

    def up(self, **given: Any) -> Process:
        return self.start("up", "--until-settled", "--timeout", f"{STAGE_SECONDS:g}s", **given)

    def watch(self, process: Process, *, seconds: float = STAGE_SECONDS) -> None:
        """Wait until the program ends, stands still, or only waits for a time to come."""
        ends = time.monotonic() + seconds
        while process.poll() is None and not process.stopped and time.monotonic() < ends:
            if self.books.rests(process.pid):
                return
            process.rest(0.1)

    def end(self, process: Process) -> None:
        """End the program, one way or another."""
        if process.poll() is None:
            number = signal.SIGTERM if self.draw.random() < 0.5 else signal.SIGKILL
            process.signal(number)
            if process.wait(15) is None:
                process.signal(signal.SIGKILL)
                process.wait()
        self._readable(process)

    def _readable(self, process: Process) -> None:
        # At its end the scheduler complains of a tick that it cuts off itself.
        text = "\n".join(row for row in process.err.read_text().splitlines() if '"apscheduler.' not in row)
        bad = "Traceback" in text or "this is a bug" in text
        asked = self.scenario.action in ("raise", "full")
        if bad and not asked:
            self.outcome.events.append(f"the program broke: {text[-3000:]}")

    def elapse(self, seconds: float) -> None:
        """Let time go by for everybody."""
        if seconds:
            self.books.elapse(seconds)
            self.stage.sandbox.ask("POST", "/advance", json={"seconds": seconds})

    # The script.

    def run(self) -> Outcome:
        began = time.monotonic()
        try:
            self._before()
            self._orders()
            self._strike()
            self._recover()
            self.stage.sandbox.ask("DELETE", "/faults")
            self._judge()
        except Exception as error:  # noqa: BLE001 - the other scripts go on; this one has failed
            told = "".join(traceback.format_exception(error))
            self.outcome.events.append(f"the harness broke in {self.folder}: {told}")
        finally:
            self.stage.proxy.trap = None
            self.stage.sandbox.ask("DELETE", "/faults")
        self.outcome.seconds = time.monotonic() - began
        return self.outcome

    def _before(self) -> None:
        if self.scenario.before == "wiped":
            self.end(self._settle())
            self.books.clear()
        elif self.scenario.before == "lost":
            self._wire("request-applied", "kill", 1)
            process = self.up()
            self._tell(process)
            process.wait(STAGE_SECONDS)
            self.stage.proxy.trap = None
            self.outcome.kills += process.code == -signal.SIGKILL

    def _settle(self) -> Process:
        process = self.up()
        self.watch(process)
        return process

    def _orders(self) -> None:
        orders = []
        for kind, options in self.scenario.faults:
            order = {"kind": kind, "provider": self.scenario.driver, **dict(options)}
            orders.append(order)
        if orders:
            self.stage.sandbox.ask("POST", "/faults", json=orders)

    def _wire(self, point: str, action: str, count: int) -> Event:
        holder: list[Process] = []
        self._holder = holder
        prefix = PREFIX[self.scenario.driver]
        start = prefix % self.name.encode() if b"%s" in prefix else prefix
        known = Event()

        def act() -> bool:
            if action == "reset":
                return False
            known.wait(10)
            holder[0].signal(SIGNALS.get(action, signal.SIGTERM))
            if action == "drain":  # there is no answer, for longer than it waits
                holder[0].wait(30)
            return action == "term"

        self.stage.proxy.trap = trap = Trap(point, start, act, count)
        self._known = known
        return trap.sprung

    def _tell(self, process: Process) -> None:
        self._holder.append(process)
        self._known.set()

    def _strike(self) -> None:
        """Start the program, and hit it."""
        scenario = self.scenario
        sprung: Event | None = None
        crash = ""
        if scenario.point in WIRE:
            sprung = self._wire(scenario.point, scenario.action, scenario.count)
        elif scenario.point == "drain-over":
            sprung = self._wire("request-sent", "drain", scenario.count)
        elif scenario.point == "database-cut":
            where = self.draw.choice(("intent-stored", "answer-received", "answer-journaled"))
            crash = f"{where}:stop:{scenario.count}"
        elif scenario.point not in ("none", "random"):
            crash = f"{scenario.point}:{scenario.action}:{scenario.count}"
        args: tuple[str, ...] = ()
        if scenario.command == "apply":
            args = ("apply", "-y")
        elif scenario.command == "backup":
            self.end(self._settle())
            args = ("db", "backup", "copy.db")
        given: dict[str, Any] = {"crash": crash, "cold": scenario.cold, "alarm": scenario.alarm}
        process = self.start(*args, **given) if args else self.up(**given)
        if sprung is not None:
            self._tell(process)
        self.watch(process)
        if process.stopped:
            self._stopped(process, at_a_point=sprung is None)
        self.end(process)
        self.stage.proxy.trap = None
        self.outcome.died = process.code in (-signal.SIGKILL, -signal.SIGALRM, 99)
        self.outcome.kills += self.outcome.died
        self.outcome.hit = sprung.is_set() if sprung is not None else self._was_hit(process)

    def _was_hit(self, process: Process) -> bool:
        if self.scenario.action in ("kill", "exit") or self.scenario.alarm:
            return self.outcome.died
        return self._stood or self.scenario.action not in ("stop",)

    _stood = False

    def _stopped(self, process: Process, *, at_a_point: bool) -> None:
        """It stands still: its lease ends, perhaps somebody else goes on; then it wakes up."""
        self._stood = True
        if self.scenario.cut:
            self.books.cut()
        if self.scenario.takeover and at_a_point:
            self.elapse(300)
            process.rest(1.1 * STILL / 3)  # its own clock goes on by itself
            other = self.up()
            self.watch(other)
            process.signal(signal.SIGCONT)
            self.watch(process)
            self.end(process)
            self.watch(other)
            self.end(other)
            return
        process.signal(signal.SIGCONT)
        self.watch(process)

    def _recover(self) -> None:
        """Start the program again and again, later and later, until all is settled."""
        if self.scenario.back:
            self.books.elapse(-HOUR)
        for seconds in STEPS:
            self.elapse(seconds)
            process = self._settle()
            self.end(process)
            if not self.books.moving() and self.books.runs() and not self._undelivered():
                break
        parked = [run for run in self.books.runs() if run["reason"] == "parked"]
        if parked:  # it is looked for all the same
            self.elapse(4000)
            process = self.start("up")
            ends = time.monotonic() + STAGE_SECONDS
            while not self._looked(parked) and time.monotonic() < ends:
                process.rest(0.1)
            self.end(process)
            self.end(self._settle())

    def _undelivered(self) -> bool:
        return any(row["state"] == "pending" for row in self.books.deliveries())

    def _looked(self, parked: Sequence[Any]) -> bool:
        looks = {run["id"]: run["looks"] for run in parked}
        now = {run["id"]: run for run in self.books.runs()}
        return all(
            key in now and (now[key]["reason"] != "parked" or now[key]["looks"] > count)
            for key, count in looks.items()
        )

    # The oracle.

    def _judge(self) -> None:
        scenario, outcome = self.scenario, self.outcome
        ledger = self.stage.sandbox.ledger(scenario.driver, self.name, self.after)
        runs = self.books.runs()
        outcome.runs = len(runs)
        logs = (path.read_text() for path in self.folder.glob("log*.err"))
        outcome.doubted = any('"run.in_doubt"' in text for text in logs)
        outcome.paid = sum(made.paid for made in ledger.made)
        outcome.parked = sum(run["reason"] == "parked" for run in runs)
        self._count(ledger)
        self._missing(ledger, runs)
        self._verdicts(ledger, runs)
        self._told(runs)
        if scenario.seed % 4 == 0:
            self._shown(runs)

    def _count(self, ledger: Ledger) -> None:
        """At most one for each attempt of a job, unless the provider itself doubled a request."""
        costly = [made for made in ledger.made if made.paid or self.scenario.driver == "cloudflare"]
        doubled = sum(1 for row in ledger.requests if row.get("fault") == "doubled")
        extra = 0
        for attempt, count in Counter(made.attempt for made in costly).items():
            extra += count - 1
            if count > 1 + doubled:
                self.outcome.duplicates.append(f"{attempt} was made {count} times")
        if extra > doubled:
            self.outcome.duplicates.append(f"{extra} too many, {doubled} by the provider itself")

    def _missing(self, ledger: Ledger, runs: Sequence[Any]) -> None:
        """Whatever is paid is bound, or in conflict, or looked for as long as it is not listed."""
        bound = {run["remote_id"] for run in runs}
        doubled = any(row.get("fault") == "doubled" for row in ledger.requests)
        by_marker = {run["marker"]: run for run in runs} | {run["job"]: run for run in runs}
        for made in ledger.made:
            if not made.paid and self.scenario.driver != "cloudflare":
                continue
            run = by_marker.get(made.attempt)
            if made.id in bound or (run is not None and run["reason"] == "conflict"):
                continue
            if run is not None and run["status"] == "in_doubt" and made.id not in ledger.listed:
                continue
            if doubled and made.id in self._audited():
                continue  # the provider itself made it beside the one that is bound
            what = "no run" if run is None else f"{run['status']}/{run['reason']}"
            self.outcome.losses.append(f"{made.id} of {made.job} is known to no run ({what})")

    def _verdicts(self, ledger: Ledger, runs: Sequence[Any]) -> None:
        """Nothing is failed, lost, given up or left to a person while the provider lists it."""
        listed = {made.attempt: made for made in ledger.made if made.id in ledger.listed}
        for run in runs:
            made = listed.get(run["marker"]) or listed.get(run["job"])
            there = made is not None
            if run["status"] in ("failed", "lost", "cancelled"):
                self.outcome.wrong.append(f"{run['job']} is {run['status']}: {run['message']}")
            elif run["reason"] == "parked" and there:
                self.outcome.wrong.append(f"{run['job']} is parked, though it is listed")
            elif run["status"] not in ("succeeded", "in_doubt"):
                self.outcome.wrong.append(
                    f"{run['job']} never settles: {run['status']}/{run['reason']} {run['message']}"
                )
        if len(runs) < self.scenario.jobs:
            self.outcome.wrong.append(f"{len(runs)} runs for {self.scenario.jobs} jobs")

    def _told(self, runs: Sequence[Any]) -> None:
        """Every transition has one event, in order, and every event was heard at least once."""
        events = self.books.events()
        for run in runs:
            numbers = [row["sequence"] for row in events if row["run_id"] == run["id"]]
            if numbers != list(range(1, run["sequence"] + 1)):
                self.outcome.events.append(f"{run['job']}: events {numbers}, sequence {run['sequence']}")
        heard = [(m.data["run_id"], m.data["sequence"]) for m in self.stage.listener.messages[self.heard :]]
        for row in self.books.deliveries():
            if (row["run_id"], row["sequence"]) not in heard:
                self.outcome.events.append(f"{row['job']} {row['event']} never reached its hook")
        for run in runs:
            order = list(dict.fromkeys(number for key, number in heard if key == run["id"]))
            if order != sorted(order):
                self.outcome.events.append(f"{run['job']}: heard in the order {order}")
        wanted = {(row["run_id"], row["sequence"]) for row in self.books.deliveries()}
        told = {(row["run_id"], row["sequence"]) for row in events if row["type"][4:] in EVENTS}
        for key in told - wanted:
            self.outcome.events.append(f"no delivery for event {key}")
        if self.stage.listener.refused > self.refused:
            self.outcome.events.append("a signature was not good")

    def _audited(self) -> set[str]:
        """Return what `audit` shows as ours, or as nobody's."""
        process = self.start("audit", "--json")
        process.wait()
        found = json.loads(process.err.with_suffix(".out").read_text())["findings"]
        return {one["id"] for one in found if one["whose"] != "another project's"}

    def _shown(self, runs: Sequence[Any]) -> None:
        """What the command shows is what the database holds."""
        process = self.start("status", "--json")
        process.wait()
        text = process.err.with_suffix(".out").read_text()
        shown = {job["job"]: job for job in json.loads(text)["jobs"]}
        for run in runs:
            mine = shown[run["job"]]
            if (mine["status"], mine["remote_id"]) != (run["status"], run["remote_id"]):
                self.outcome.wrong.append(f"status shows {mine}, the database has {dict(run)}")


def _job(kind: str, name: str) -> str:
    head = f'[jobs.{name}]\nprovider = "{kind}"\n[jobs.{name}.spec]\n'
    match kind:
        case "cartesia":
            return (
                f'{head}description = "A voice"\nlanguage = "en"\nmodel_id = "sonic-3-2026-01-12"\n'
                f'dataset = "ds-{name}"\n'
            )
        case "oxen":
            return (
                f'{head}resource = "main/{name}.parquet"\n'
                'base_model = "meta-llama/Llama-3.2-1B-Instruct"\nscript_type = "text_generation"\n'
            )
        case "cloudflare":
            return f'{head}model = "@cf/mistral/mistral-7b-instruct-v0.2-lora"\nadapter = "adapter"\n'
        case _:
            return (
                f'[jobs.{name}]\nprovider = "{kind}"\n[jobs.{name}.spec.settings]\n'
                f'dataset_id = "ds-{name}"\nbase_model = {{ base_type = "BASE_TYPE_CLASSIFICATION" }}\n'
            )


__all__ = ["DATABASES", "DRIVERS", "Outcome", "Scenario", "Stage", "stage", "words"]
