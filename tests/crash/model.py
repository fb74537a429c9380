"""Scripts of crashes, time-outs and answers over a virtual clock, played on the real engine and store.

The remote side is scripted: a `Provider` whose fine-tunes come to exist and to be listed when the script
says. A life of the program is an `Engine` on a `Store` on an SQLite file; it ends at any provider call,
transaction or named point, and another life goes on with the same file. The whole follows from one seed.
"""

import random
import shutil
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import anyio
import httpx
import sqlalchemy as sa

from orchestrator import crashpoint
from orchestrator.app.apply import automatic
from orchestrator.config import manifest as grammar
from orchestrator.config.manifest import AccountOptions, AfterDoubt, Manifest, Settings
from orchestrator.core.job import Job, JsonObject, fingerprint
from orchestrator.core.run import Run, Snapshot, Status
from orchestrator.core.transition import finish
from orchestrator.errors import (
    Denied,
    LeaseLost,
    Misread,
    Missing,
    NotSent,
    Rejected,
    StoreError,
    Throttled,
    Transient,
    Unclear,
)
from orchestrator.providers.base import Fact, Facts, Page, Provider
from orchestrator.providers.registry import registry
from orchestrator.providers.request import Request
from orchestrator.store.commit import Routing
from orchestrator.store.database import Database, Tx
from orchestrator.store.rows import to_run
from orchestrator.store.store import Store
from orchestrator.store.tables import events, runs
from orchestrator.worker.engine import Engine
from orchestrator.worker.journal import Journal

T = TypeVar("T")
KIND = "scripted"
ACCOUNT = "acc"
START = datetime(2020, 1, 1, tzinfo=UTC)
WINDOW = timedelta(minutes=15)
DEADLINE = timedelta(seconds=30)
PAGE = 2
OBLIGATIONS = tuple(f"P{number}" for number in range(1, 11))
BINDING = ("P1", "P2", "P3")


class Died(BaseException):
    """The process is gone; nothing of it runs on."""


@dataclass
class Thing:
    """A fine-tune at the remote side."""

    id: str
    work: tuple[str, int]
    """Job and attempt."""
    marker: str
    exists: datetime
    listed: datetime
    doubled: bool = False


@dataclass
class World:
    """What is outside of any life of the program: the remote side, the clock, the script's next blows."""

    draw: random.Random
    now: datetime = START
    things: list[Thing] = field(default_factory=list)
    posts: list[tuple[str, str]] = field(default_factory=list)
    """Marker and outcome of each create that left."""
    outcomes: list[str] = field(default_factory=list)
    """What the next creates come to; `ok` when there are none left."""
    lag: timedelta = timedelta()
    """The longest that a create may be applied late and listed late, together."""
    spoilt_lists: int = 0
    complete: int = 0
    """Complete listings in this round."""
    spoilt: int = 0
    fuse: tuple[str, int] | None = None
    """Where the next blow falls: what, and at which time of it."""
    gate: anyio.Event | None = None
    reached: anyio.Event | None = None
    gate_before: bool = False
    life: "Life | None" = None
    open_at_post: list[int] = field(default_factory=list)
    broken: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    seen: Counter[str] = field(default_factory=Counter)
    """What the scripts did, so that a test can say that they did it."""

    def clock(self) -> datetime:
        return self.now

    def visible(self) -> list[Thing]:
        """What a complete listing shows now."""
        return [thing for thing in self.things if thing.exists <= self.now and thing.listed <= self.now]

    def breaks(self, obligation: str, what: str) -> None:
        self.broken[obligation].append(what)

    def blow(self, what: str) -> None:
        """Let the fuse burn down at `what`."""
        if self.fuse is None or self.fuse[0] != what:
            return
        kind, left = self.fuse
        if left > 1:
            self.fuse = (kind, left - 1)
            return
        self.fuse = None
        self.seen[what] += 1
        if what in ("commit unknown", "commit refused"):
            raise StoreError(f"the database went away ({what})")
        if what.startswith("cancel"):
            assert self.life is not None
            assert self.life.scope is not None
            self.life.scope.cancel()
            return
        if self.life is not None:
            self.life.database.dead = True
        raise Died(what)


class Spec(grammar.Spec):
    """What a job of the script asks for."""

    text: str


class Scripted(Provider):
    """The remote side of one script."""

    kind = KIND
    title = "Scripted"
    base_url = "http://127.0.0.1:9"
    docs = ""
    Spec = Spec
    status_map: ClassVar[Mapping[str, Status]] = {"training": Status.RUNNING, "done": Status.SUCCEEDED}
    facts = Facts(marker_field=Fact("description", "this file"))
    world: ClassVar[World]

    @classmethod
    def auth(cls, options: AccountOptions, secrets: Mapping[str, Any]) -> httpx.Auth:
        return httpx.Auth()

    @classmethod
    def identity(cls, spec: JsonObject) -> Mapping[str, Any]:
        return {"text": spec["text"]}

    def _alive(self) -> None:
        if self.world.life is not None and self.world.life.database.dead:
            raise Died("a dead process calls nobody")

    async def create(self, run: Request[Any]) -> Snapshot:
        world = self.world
        outcome = world.outcomes.pop(0) if world.outcomes else "ok"
        world.blow("before create")
        await anyio.lowlevel.checkpoint()
        world.blow("cancel before create")
        await anyio.lowlevel.checkpoint()
        if world.gate is not None and world.gate_before:
            await self._wait()
        world.seen[outcome] += 1
        world.posts.append((run.marker, outcome))
        self._judge_post(run)
        refusal = _REFUSALS.get(outcome)
        if refusal is not None:
            raise refusal()
        if outcome == "lost before":
            raise Unclear("no answer")
        made = [self._make(run, outcome) for _ in range(2 if outcome == "doubled" else 1)]
        world.blow("after create")
        if world.gate is not None and not world.gate_before:
            await self._wait()
        world.blow("cancel after create")
        await anyio.lowlevel.checkpoint()
        if outcome in ("lost after", "late", "late and hidden"):
            raise Unclear("no answer")
        if outcome == "garbage":
            raise ValueError("no JSON")
        return _snapshot(made[0], self.world.now)

    async def _wait(self) -> None:
        world = self.world
        assert world.gate is not None
        assert world.reached is not None
        gate, world.gate = world.gate, None
        world.reached.set()
        await gate.wait()

    def _make(self, run: Request[Any], outcome: str) -> Thing:
        world = self.world
        late = world.lag * world.draw.random() if outcome.startswith("late") else timedelta()
        hidden = (world.lag - late) * world.draw.random() if outcome.endswith("hidden") else timedelta()
        thing = Thing(
            id=f"ft_{len(world.things)}",
            work=(run.job, run.attempt),
            marker=run.marker,
            exists=world.now + late,
            listed=world.now + late + hidden,
            doubled=outcome == "doubled",
        )
        world.things.append(thing)
        return thing

    def _judge_post(self, run: Request[Any]) -> None:
        world = self.world
        assert world.life is not None
        earlier = [outcome for marker, outcome in world.posts[:-1] if marker == run.marker]
        undecided = [outcome for outcome in earlier if outcome not in _REFUSALS]
        if undecided and world.life.after_doubt is AfterDoubt.PARK and run.marker not in world.life.forgotten:
            world.breaks("P1", f"{run.job} sent again after {earlier}")
        if any(thing.marker == run.marker for thing in world.visible()):
            world.breaks(
                "P10" if run.marker in world.life.forgotten else "P1", f"{run.job} sent while it is listed"
            )

    async def get(self, remote_id: str) -> Snapshot:
        world = self.world
        self._alive()
        await anyio.lowlevel.checkpoint()
        found = [thing for thing in world.things if thing.id == remote_id and thing.exists <= world.now]
        if not found:
            raise Missing("no such fine-tune")
        return _snapshot(found[0], world.now)

    async def list(self, cursor: str | None = None) -> Page:
        world = self.world
        world.blow("before list")
        self._alive()
        await anyio.lowlevel.checkpoint()
        start = int(cursor or 0)
        shown = world.visible()
        if world.spoilt_lists and start + PAGE >= min(len(shown), PAGE * 2):
            world.spoilt_lists -= 1
            world.spoilt += 1
            world.seen["spoilt list"] += 1
            raise world.draw.choice([Transient("cut off"), Misread("no JSON")])
        items = tuple(_snapshot(thing, world.now) for thing in shown[start : start + PAGE])
        more = start + PAGE < len(shown)
        if not more:
            world.complete += 1
        return Page(items=items, next=str(start + PAGE) if more else None)


_REFUSALS: Mapping[str, Callable[[], Exception]] = {
    "throttled": lambda: Throttled("later", code=429, retry_after=20),
    "denied": lambda: Denied("no such key", code=401),
    "not sent": lambda: NotSent("no connection"),
    "rejected": lambda: Rejected("no such data", code=422),
}
CREATES = (
    *("ok",) * 6,
    *("lost before", "lost after", "late", "late and hidden", "and hidden") * 2,
    "doubled",
    "garbage",
    "throttled",
    "not sent",
    "denied",
    "rejected",
)


def _snapshot(thing: Thing, now: datetime) -> Snapshot:
    done = now - thing.exists > timedelta(minutes=30)
    return Snapshot(
        remote_id=thing.id,
        status=Status.SUCCEEDED if done else Status.RUNNING,
        provider_status="done" if done else "training",
        marker=thing.marker,
    )


class Mortal(Database):
    """A database that the script can cut off: before a transaction, after its commit, or for good."""

    def __init__(self, url: str, world: World) -> None:
        super().__init__(url, clock=world.clock)
        self.world = world
        self.dead = False

    def _live(self) -> None:
        if self.dead:
            raise Died("a dead process writes nothing")

    async def write(self, work: Callable[[Tx], T], *, quiet: bool = False, yields: bool = False) -> T:
        self._live()
        self.world.blow("before write")
        self.world.blow("commit refused")
        self.world.blow("cancel at write")
        outcome = await super().write(work, quiet=quiet, yields=yields)
        self.world.blow("after write")
        self.world.blow("commit unknown")
        return outcome

    async def read(self, work: Callable[[Tx], T]) -> T:
        self._live()
        return await super().read(work)


class Life:
    """One process of the program, from its start to its end."""

    def __init__(self, folder: Path, world: World, manifest: Manifest) -> None:
        self.database = Mortal(f"sqlite:///{folder}/state.db", world)
        self.store = Store(self.database, manifest.settings.project)
        self.engine = Engine(
            self.store, manifest, Journal(folder / "replies.jsonl"), {}, jitter=world.draw.random
        )
        self.world = world
        self.after_doubt = manifest.accounts[ACCOUNT].after_doubt
        self.forgotten: set[str] = set()
        self.scope: anyio.CancelScope | None = None

    async def begin(self, dead: Sequence[str]) -> None:
        """Do what the daemon does first; the leases of lives that are over end."""
        await self.store.leases.end(lambda owner: owner not in dead)
        await self.engine.prepare()
        await automatic(self.store, self.engine.manifest, Routing(), apply_new=True)

    async def round(self) -> None:
        """Do all that is due; a cancellation ends only this."""
        with anyio.CancelScope() as self.scope:
            await self.engine.round(ACCOUNT)
        self.scope = None

    async def end(self) -> None:
        self.database.dead = False
        await self.engine.close()
        self.database.close()


def _settled(run: Run) -> bool:
    return run.status.final or run.remote_id is not None or run.reason == "conflict"


BLOWS = (
    "before create",
    "after create",
    "before list",
    "before write",
    "after write",
    "commit unknown",
    "commit refused",
    "cancel before create",
    "cancel after create",
    "cancel at write",
    *(f"C{number:02}" for number in (4, 5, 6, 7, 8, 9, 18, 19, 20, 21, 22, 24, 25)),
)


class Script:
    """One seed's story."""

    def __init__(self, seed: int, folder: Path, template: Path) -> None:
        self.seed, self.folder = seed, folder
        self.draw = random.Random(seed)  # noqa: S311 - to be drawn again
        self.world = World(self.draw)
        folder.mkdir()
        self.file = folder / "state.db"
        shutil.copy(template, self.file)
        self.resend = self.draw.random() < 0.35
        self.world.lag = timedelta(minutes=10 if self.resend else 60)
        self.most = self.draw.choice((None, None, 1, 2))
        self.manifest = self._manifest(self.draw.randint(1, 3))
        self.dead: list[str] = []
        self.forgotten: set[str] = set()
        self.backup: Path | None = None
        self.log: list[str] = []
        # Beside the program's own way in, without its threads; the file may be replaced, so nothing is kept.
        self._reader = sa.create_engine(f"sqlite:///{self.file}", poolclass=sa.NullPool)

    def _manifest(self, count: int) -> Manifest:
        jobs = {}
        for number in range(count):
            spec = {"text": f"job {number}"}
            jobs[f"job{number}"] = Job(
                name=f"job{number}",
                account=ACCOUNT,
                kind=KIND,
                spec=spec,
                fingerprint=fingerprint(spec, inputs={}),
            )
        options = AccountOptions(
            kind=KIND,
            doubt_window=WINDOW,
            after_doubt=AfterDoubt.RESEND if self.resend else AfterDoubt.PARK,
            max_running=self.most,
        )
        return Manifest(
            settings=Settings(project="model"),
            accounts={ACCOUNT: options},
            hooks={},
            jobs=jobs,
            files=(),
            root=self.folder,
            origins={},
            digest="",
        )

    async def play(self) -> World:
        """Tell the whole story, and judge it."""
        async with self.living():
            for _ in range(self.draw.randint(4, 12)):
                await self._act()
            await self._quiet()
            await self._judge()
        return self.world

    @asynccontextmanager
    async def living(self) -> AsyncIterator[Life]:
        """Begin the first life; whichever is there at the end is ended."""
        kinds = registry()
        assert isinstance(kinds, dict)
        kinds[KIND] = type("Scripted", (Scripted,), {"world": self.world})
        crashpoint.watch = self.world.blow
        try:
            await self._open()
            assert self.world.life is not None
            yield self.world.life
        finally:
            crashpoint.watch = None
            del kinds[KIND]
            if self.world.life is not None:
                await self.world.life.end()

    async def _open(self) -> None:
        life = Life(self.folder, self.world, self.manifest)
        life.forgotten = self.forgotten
        self.world.life = life
        await life.begin(self.dead)

    async def _reopen(self) -> None:
        assert self.world.life is not None
        self.dead.append(self.world.life.store.owner)
        await self.world.life.end()
        self.world.fuse = None
        await self._open()

    async def _act(self) -> None:
        draw = self.draw
        self.world.outcomes += [draw.choice(CREATES) for _ in range(draw.randint(0, 3))]
        choices: list[tuple[Callable[[], Awaitable[None]], int]] = [
            (self._round, 4),
            (self._strike, 7),
            (self._spoil, 2),
            (self._later, 3),
            (self._save, 1),
            (self._restore, 1),
            (self._wipe, 1),
        ]
        if not self.resend:
            choices.append((self._overlap, 2))
        act = draw.choices([one for one, _ in choices], [weight for _, weight in choices])[0]
        self.log.append(act.__name__)
        await act()
        self._check()

    async def _round(self) -> None:
        """One round, compared with what was before it."""
        world = self.world
        life = world.life
        assert life is not None
        before = self.runs()
        shown = {thing.marker for thing in world.visible()}
        world.complete = world.spoilt = 0
        try:
            await life.round()
        except Died as died:
            self.log.append(str(died))
            await self._reopen()
        except StoreError as error:
            self.log.append(error.message)
        assert world.life is not None
        self._verdicts(before, self.runs(), shown)

    async def _strike(self) -> None:
        """One round with a blow in it."""
        what = self.draw.choice(BLOWS)
        self.world.fuse = (what, self.draw.randint(1, 4 if "write" in what or "commit" in what else 2))
        self.log.append(f"{self.world.fuse}")
        cancelled = what.startswith("cancel")
        await self._round()
        if cancelled and self.world.fuse is None:
            await self._reopen()  # who is told to stop stops
        self.world.fuse = None

    async def _spoil(self) -> None:
        self.world.spoilt_lists = self.draw.randint(1, 2)
        await self._round()
        self.world.spoilt_lists = 0

    async def _later(self) -> None:
        self.world.now += timedelta(seconds=self.draw.choice((1, 20, 130, 900, 960, 4000)))

    async def _save(self) -> None:
        """Last night's backup."""
        assert self.world.life is not None
        await self.world.life.end()
        self.backup = self.folder / "backup.db"
        shutil.copy(self.file, self.backup)
        await self._open()

    async def _restore(self) -> None:
        """Restore it, once all that was made is listed: what is not listed cannot be known."""
        if self.backup is not None:
            await self._forget(self.backup)
            self.world.seen["restored"] += 1

    async def _wipe(self) -> None:
        """Lose the database and the journal."""
        await self._forget(None)
        self.world.seen["wiped"] += 1

    async def _forget(self, backup: Path | None) -> None:
        world = self.world
        assert world.life is not None
        self.dead.append(world.life.store.owner)
        world.now += world.lag
        self.forgotten |= {marker for marker, _ in world.posts}
        await world.life.end()
        shutil.copy(backup or self.folder.parent / "template.db", self.file)
        if backup is None:
            (self.folder / "replies.jsonl").unlink(missing_ok=True)
        await self._open()

    async def _overlap(self) -> None:
        """A process stands still in its create while its lease ends and another goes on; then it wakes up."""
        world = self.world
        old = world.life
        assert old is not None
        world.gate = gate = anyio.Event()
        world.reached = reached = anyio.Event()
        world.gate_before = self.draw.random() < 0.5
        done = anyio.Event()

        async def sleeper() -> None:
            with suppress(Died, StoreError):
                await old.engine.round(ACCOUNT)
            done.set()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(sleeper)
            while not (reached.is_set() or done.is_set()):
                await anyio.lowlevel.checkpoint()
            if reached.is_set():
                world.seen["overlap"] += 1
                await self._taken_over(old)
            gate.set()
            await done.wait()
        world.gate = world.reached = None
        if world.life is not old:
            await old.end()

    async def _taken_over(self, old: Life) -> None:
        world = self.world
        held = [run for run in self.runs().values() if run.owner == old.store.owner]
        world.now += timedelta(seconds=self.draw.choice((125, 200, 1000)))
        life = Life(self.folder, world, self.manifest)
        life.forgotten = self.forgotten
        world.life = life
        await life.begin([])
        for _ in range(self.draw.randint(1, 3)):
            await life.round()
            world.now += timedelta(seconds=self.draw.choice((0, 15, 60)))
        taken = self.runs()
        for run in held:
            if taken[run.id].epoch == run.epoch:
                continue
            world.seen["stale write"] += 1
            try:
                # All as it stands now but the epoch, which alone must keep it out.
                await old.store.work.move(
                    replace(taken[run.id], epoch=run.epoch),
                    lambda run, now: finish(run, now, status=Status.FAILED, message="stale"),
                    Routing(),
                )
            except LeaseLost:
                continue
            world.breaks("P7", f"a write of an epoch that is over changed {run.job}")

    async def _quiet(self) -> None:
        """Nothing more goes wrong but a listing now and then, and time goes by."""
        world = self.world
        world.outcomes.clear()
        world.fuse = None
        waits = (0, 20, 70, 400, 1000, 1000, *(4000,) * 7)
        for number, seconds in enumerate(waits, start=1):
            world.now += timedelta(seconds=seconds)
            if number < len(waits) and self.draw.random() < 0.4:  # in the end one listing is whole
                await self._spoil()
            for _ in range(2):
                await self._round()
            hidden = len(world.things) - len(world.visible())
            if not hidden and all(_settled(run) for run in self.runs().values()):
                break
        self._check()

    # What is looked at.

    def runs(self) -> dict[str, Run]:
        """Return every run, by its id."""
        with self._reader.connect() as connection:
            return {row.id: to_run(row) for row in connection.execute(sa.select(runs))}

    def _verdicts(self, before: Mapping[str, Run], after: Mapping[str, Run], shown: set[str]) -> None:
        world = self.world
        refused = {marker for marker, outcome in world.posts if outcome == "rejected"}
        for run in after.values():
            old = before.get(run.id)
            if old is None or (old.status, old.reason) == (run.status, run.reason):
                continue
            gone = run.status in (Status.FAILED, Status.LOST, Status.CANCELLED) and run.marker not in refused
            negative = gone or run.reason == "parked"
            again = old.status in (Status.SUBMITTING, Status.IN_DOUBT) and run.status is Status.PENDING
            if negative and run.marker in shown:
                world.breaks("P4", f"{run.job} is {run.status}/{run.reason} while it is listed")
            if gone:
                world.breaks("P4", f"{run.job} is {run.status}: {run.message}")
            if (negative or (again and old.reason == "looking")) and world.spoilt and not world.complete:
                world.breaks("P9", f"{run.job} became {run.status}/{run.reason} by a spoilt listing")

    def _check(self) -> None:
        """What holds at every instant: events, and the bound on what is open."""
        world = self.world
        told: dict[str, list[int]] = defaultdict(list)
        with self._reader.connect() as connection:
            rows = connection.execute(sa.select(runs)).all()
            for one in connection.execute(
                sa.select(events.c.run_id, events.c.sequence).order_by(events.c.id)
            ):
                told[one.run_id].append(one.sequence)
        for row in rows:
            if told[row.id] != list(range(1, row.sequence + 1)):
                world.breaks("P6", f"{row.job} has events {told[row.id]} at sequence {row.sequence}")
        busy = [row for row in rows if row.status in ("submitting", "in_doubt", "queued", "running")]
        if self.most is not None and len(busy) > self.most and not self.forgotten:
            world.breaks("P8", f"{len(busy)} runs are open, max_running is {self.most}")

    async def _judge(self) -> None:
        """What holds at the end."""
        world = self.world
        assert world.life is not None
        found = list(self.runs().values())
        by_marker = {run.marker: run for run in found}
        bound = {run.remote_id for run in found}
        made = Counter(thing.work for thing in world.things if not thing.doubled)
        doubles = {thing.work for thing in world.things if thing.doubled}
        for work, count in made.items():
            if count + (work in doubles) > 1:
                world.breaks("P2", f"{work} was made {count} times")
        for thing in world.things:
            run = by_marker.get(thing.marker)
            known = thing.id in bound or (run is not None and run.reason == "conflict")
            if not known and not (thing.doubled and run is not None and run.remote_id):
                what = run and f"{run.status}/{run.reason}"
                world.breaks("P3", f"{thing.id} is known to no run ({what})")
        marked = Counter(thing.marker for thing in world.things)
        for run in found:
            if run.reason == "conflict" and marked[run.marker] < 2:
                world.breaks("P4", f"{run.job} is in conflict with nothing")
            if run.status in (Status.PENDING, Status.SUBMITTING) and self.most is None:
                world.breaks("P3", f"{run.job} ends as {run.status}/{run.reason}: {run.message}")
