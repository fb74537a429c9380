"""SIGKILL between any two steps of a delivery: none missing, order kept, no id twice without a reason."""

import json
import os
import random
import shutil
import signal
import socket
import struct
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Condition, Thread

import pytest
from core.make import a_record, a_run
from standardwebhooks import Webhook
from store.hooked import TEAM
from store.make import heard, put

from orchestrator.core.delivery import DeliveryState
from orchestrator.core.run import Status
from orchestrator.core.transition import finish
from orchestrator.hooks.webhook import make_secret
from orchestrator.store.database import Database
from orchestrator.store.store import Store

SENDER = Path(__file__).with_name("sender.py")
SPEED = 100.0
"""What waits for five seconds waits for 50 milliseconds here."""
TIMES = 5
DROPPED = 0


@dataclass(frozen=True, kw_only=True)
class Receipt:
    """One request as it came: which process sent it, and with which code it was answered (0: not at all)."""

    id: str
    job: str
    sequence: int
    generation: int
    code: int


@dataclass
class Books:
    """What a receiver got and answered, in order."""

    seed: int
    receipts: list[Receipt] = field(default_factory=list)
    forged: int = 0
    news: Condition = field(default_factory=Condition)

    def enter(self, id: str, body: bytes, generation: int) -> int:  # noqa: A002 - what it is called there
        data = json.loads(body)["data"]
        with self.news:
            code = random.Random(f"{self.seed} {id} {len(self.receipts)}").choices(  # noqa: S311 - no secret
                [204, 500, 429, DROPPED], [94, 2, 1, 3]
            )[0]
            self.receipts.append(
                Receipt(id=id, job=data["job"], sequence=data["sequence"], generation=generation, code=code)
            )
            self.news.notify_all()
        return code

    def await_more(self, count: int, process: "subprocess.Popen[bytes]") -> None:
        """Wait for `count` further requests, or the end of the process."""
        with self.news:
            wanted = len(self.receipts) + count
            while len(self.receipts) < wanted and process.poll() is None:
                self.news.wait(0.2)


@contextmanager
def receiving(secret: str, seed: int) -> Iterator[tuple[str, Books]]:
    """Receive on a free port, badly at times."""
    webhook, books = Webhook(secret), Books(seed)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            length = int(self.headers["content-length"])
            body = self.rfile.read(length)
            if len(body) < length:
                return  # its sender was killed over it
            try:
                webhook.verify(body, {key.lower(): value for key, value in self.headers.items()})
            except Exception:  # noqa: BLE001 - whatever the reference library says against it
                books.forged += 1
            code = books.enter(self.headers["webhook-id"], body, int(self.path.strip("/")))
            if code == DROPPED:
                linger = struct.pack("ii", 1, 0)
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                self.close_connection = True
                return
            self.send_response(code)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *args: object) -> None:
            """Say nothing."""

        def handle(self) -> None:
            with suppress(OSError):  # the sender was killed
                super().handle()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", books
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


async def fill(store: Store, jobs: int) -> set[str]:
    """Write `TIMES` events of each job, and return the ids of their deliveries."""
    declared = [heard(f"job-{number:04}") for number in range(jobs)]
    runs = [a_run(job, status=Status.QUEUED) for job in declared]
    await put(store, *runs, records=[a_record(job) for job in declared])
    now = await store.now()
    for _ in range(TIMES):
        moved = [finish(run, now, status=Status.RUNNING) for run in runs]
        await store.work.commit(moved, TEAM)
        runs = [each.run for each in moved]
    return {one.id for one in await store.outbox.log(most=10 * jobs)}


async def check(database: str, folder: Path, *, jobs: int, kills: int, seed: int) -> None:
    """Send all of it through as many killed processes and one that ends by itself."""
    secret, draw = make_secret(), random.Random(seed)  # noqa: S311 - no secret
    began = datetime.now(UTC).isoformat()
    with Database(database) as opened:
        store = Store(opened, "acme")
        ids = await fill(store, jobs)
        with receiving(secret, seed) as (url, books):
            for generation in range(kills + 1):
                command = [sys.executable, str(SENDER), database, f"{url}/{generation}", str(SPEED), began]
                env = {**os.environ, "SECRET": secret}
                process = subprocess.Popen(command, cwd=folder, env=env)
                if generation < kills:
                    books.await_more(draw.randrange(1, 2 * len(ids) // (kills + 1)), process)
                    process.send_signal(signal.SIGKILL)
                code = process.wait(600)
            assert code == 0, f"seed {seed}"
        left = {one.state for one in await store.outbox.log(most=10 * jobs)}
    assert left == {DeliveryState.DELIVERED}
    assert books.forged == 0
    assert {one.id for one in books.receipts} == ids
    judge(books.receipts)
    print(f"{len(ids)} events, {kills} kills: {count(books.receipts)}")  # noqa: T201 - pytest -rP shows it


def count(receipts: list[Receipt]) -> str:
    """Say how much came again, and why."""
    times = Counter(one.id for one in receipts)
    answers = Counter(one.code for one in receipts)
    repeated = sum(number > 1 for number in times.values())
    taken = Counter(one.id for one in receipts if one.code == 204)
    twice = sum(number > 1 for number in taken.values())
    refused = answers[429] + answers[500]
    return (
        f"{len(receipts)} requests, {answers[DROPPED]} dropped and {refused} refused on purpose, "
        f"{repeated} ids more than once, of these {twice} taken more than once"
    )


def judge(receipts: list[Receipt]) -> None:
    """Check that no id came again but after a lost answer or a kill, and none before its predecessors."""
    last: dict[str, Receipt] = {}
    arrived: dict[str, int] = defaultdict(int)
    for one in receipts:
        before = last.get(one.id)
        assert before is None or before.code != 204 or before.generation < one.generation, one
        # The first event of a run has the number 1; what came before this one was taken.
        assert one.sequence <= arrived[one.job] + 1, one
        if one.code == 204:
            arrived[one.job] = max(arrived[one.job], one.sequence)
        last[one.id] = one


@pytest.fixture
def seed() -> int:
    """Printed with a failure; a run is repeated by returning it here."""
    found = random.SystemRandom().randrange(2**32)
    print(f"seed {found}")  # noqa: T201 - pytest shows it with the failure
    return found


@pytest.fixture
def sqlite_url(tmp_path: Path, request: pytest.FixtureRequest) -> str:
    shutil.copyfile(request.getfixturevalue("_migrated_file"), tmp_path / "state.db")
    os.chmod(tmp_path / "state.db", 0o600)
    return f"sqlite:///{tmp_path}/state.db"


async def test_nothing_is_lost_or_out_of_order(sqlite_url: str, tmp_path: Path, seed: int) -> None:
    await check(sqlite_url, tmp_path, jobs=40, kills=3, seed=seed)


@pytest.mark.long
@pytest.mark.timeout(1800)
async def test_nothing_is_lost_in_five_thousand(database_url: str, tmp_path: Path, seed: int) -> None:
    await check(database_url, tmp_path, jobs=1000, kills=40, seed=seed)


def test_the_judge_can_say_no() -> None:
    fine = Receipt(id="a", job="j", sequence=1, generation=0, code=204)
    again = Receipt(id="a", job="j", sequence=1, generation=1, code=204)
    early = Receipt(id="c", job="j", sequence=3, generation=0, code=204)
    judge([fine, again])
    with pytest.raises(AssertionError):
        judge([fine, fine])
    with pytest.raises(AssertionError):
        judge([fine, early])
