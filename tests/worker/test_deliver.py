"""The deliverer on a real store against receivers that refuse, hang, reset, answer late, twice or never."""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from email.utils import format_datetime
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest
import structlog
from core.make import NOW
from hooks.receiver import Receiver, receiving, reply, reset, vanish
from standardwebhooks import Webhook as Verifier
from store.hooked import states, tell
from store.make import Clock

from orchestrator.core.delivery import SCHEDULE, Delivery, DeliveryState
from orchestrator.core.receiver import OPENS_AT, PROBE_AFTER
from orchestrator.errors import StoreError
from orchestrator.hooks.base import Hook
from orchestrator.hooks.command import Command, CommandOptions
from orchestrator.hooks.webhook import Webhook, WebhookOptions, make_secret
from orchestrator.store.database import Database, Tx
from orchestrator.store.store import Store
from orchestrator.worker.deliver import Deliverer
from orchestrator.worker.pump import AHEAD, IN_FLIGHT, origin_of

Made = Callable[..., Deliverer]
SECOND = timedelta(seconds=1)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def store(tmp_path: Path, _migrated_file: Path, clock: Clock) -> AsyncIterator[Store]:
    shutil.copyfile(_migrated_file, tmp_path / "state.db")
    os.chmod(tmp_path / "state.db", 0o600)
    with Database(f"sqlite:///{tmp_path}/state.db", clock=clock) as opened:
        yield Store(opened, "acme", owner="me")


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as each:
        yield each


@pytest.fixture
async def made(
    store: Store, receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Made]:
    """Make deliverers with one webhook `team`, whose table may differ, and other hooks beside it."""
    monkeypatch.setenv("TEAM_HOOK_SECRET", make_secret())
    opened: list[Deliverer] = []

    def deliverer(others: dict[str, Hook] | None = None, **table: object) -> Deliverer:
        table = {"url": receiver.url(), **table}
        options = WebhookOptions.model_validate(
            {"kind": "webhook", "secret": {"env": "TEAM_HOOK_SECRET"}, "allow_private": True, **table}
        )
        hooks = {"team": Webhook(options, tmp_path, now=lambda: NOW), **(others or {})}
        opened.append(Deliverer(store=store, hooks=hooks, jitter=lambda: 1.0))
        return opened[-1]

    yield deliverer
    for each in opened:
        await each.close()


async def ended(deliverer: Deliverer, name: str = "team") -> int:
    with anyio.fail_after(60):
        return await deliverer.drain(name)


async def test_all_of_it_arrives_in_the_order_of_each_job(
    made: Made, store: Store, receiver: Receiver
) -> None:
    jobs = [f"job-{number}" for number in range(IN_FLIGHT + 5)]
    await tell(store, *jobs, times=3)
    assert await ended(made()) == 3 * len(jobs)
    verifier = Verifier(os.environ["TEAM_HOOK_SECRET"])
    order: dict[str, list[bytes]] = {}
    for sent in receiver.requests:
        signed = verifier.sign(sent.headers["webhook-id"], NOW, sent.body.decode())
        assert signed == sent.headers["webhook-signature"]
        order.setdefault(sent.body.split(b'"job":"')[1].split(b'"')[0].decode(), []).append(sent.body)
    told = {job: [one.body for one in await store.outbox.log(job=job)] for job in jobs}
    assert order == told
    assert receiver.connections <= IN_FLIGHT
    assert set(await states(store)) == {DeliveryState.DELIVERED}


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (reset, "uncertain: the connection broke before an answer"),
        (vanish, "uncertain: the connection broke before an answer"),
        (reply(500, b"oh"), "HTTP 500: oh"),
        (reply(302, location="http://169.254.169.254/"), "HTTP 302"),
    ],
)
async def test_what_failed_keeps_its_id_and_holds_back_its_job_alone(
    made: Made, store: Store, receiver: Receiver, clock: Clock, answer: object, said: str
) -> None:
    deliverer = made()
    await tell(store, "a", times=2)
    receiver.answer = answer  # type: ignore[assignment]  # one of the answers above
    assert await ended(deliverer) == 1
    (first, second) = await store.outbox.log()
    assert (first.state, second.attempts) == (DeliveryState.PENDING, 0)
    assert (first.last_error or "").startswith(said)
    assert await deliverer.wait("team") == SCHEDULE[1]
    receiver.answer = reply(204)
    await tell(store, "b")
    assert await ended(deliverer) == 1
    clock.forward(SCHEDULE[1])
    assert await ended(deliverer) == 2
    ids = [sent.headers["webhook-id"] for sent in receiver.requests]
    assert [ids[0], ids[-2], ids[-1]] == [first.id, first.id, second.id]


async def test_one_that_hangs_is_uncertain_and_holds_up_no_other_job(
    made: Made, store: Store, receiver: Receiver
) -> None:
    await tell(store, "a")
    receiver.answer = receiver.hang
    ticks: list[int] = []
    deliverer = made(timeout="200ms")
    assert await deliverer.drain("team", lambda: ticks.append(1)) == 1
    assert ticks
    (one,) = await store.outbox.log()
    assert (one.state, one.attempts) == (DeliveryState.PENDING, 1)
    assert (one.last_error or "").startswith("uncertain: no answer within 0.2 s")


async def test_a_late_answer_and_a_second_one_change_nothing(
    made: Made, store: Store, receiver: Receiver
) -> None:
    async def twice(writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0)
        await reply(204)(writer)
        await reply(500)(writer)

    receiver.answer = twice
    await tell(store, "a", "b", "c", times=2)
    assert await ended(made()) >= 6
    assert (await states(store)).count(DeliveryState.DELIVERED) >= 3


@pytest.mark.parametrize(
    ("value", "wait"),
    [
        ("120", timedelta(seconds=120)),
        (format_datetime(NOW + timedelta(hours=1), usegmt=True), timedelta(hours=1)),
        ("0", SCHEDULE[1]),
        ("-5", SCHEDULE[1]),
        ("soon", SCHEDULE[1]),
        ("9" * 30, timedelta(hours=24)),
    ],
)
@pytest.mark.parametrize("code", [429, 503])
async def test_a_receiver_that_asks_for_time_gets_it(
    made: Made, store: Store, receiver: Receiver, code: int, value: str, wait: timedelta
) -> None:
    deliverer = made()
    await tell(store, "a")
    receiver.answer = reply(code, retry_after=value)
    await ended(deliverer)
    assert await deliverer.wait("team") == wait


async def test_410_ends_it_for_all_jobs_until_the_table_changes(
    made: Made, store: Store, receiver: Receiver
) -> None:
    deliverer = made()
    await deliverer.declare()
    await tell(store, "a", times=2)
    receiver.answer = reply(410, b"gone")
    with structlog.testing.capture_logs() as logs:
        assert await ended(deliverer) == 1
    assert [line["reason"] for line in logs if line["event"] == "hook.off"] == [
        "the receiver asked for no more deliveries: HTTP 410: gone"
    ]
    await tell(store, "b")
    assert await ended(deliverer) == 0
    assert await deliverer.wait("team") is None
    receiver.answer = reply(200)
    mended = made(url=receiver.url(path="/new"))
    await mended.declare()
    assert await ended(mended) == 3
    assert {sent.line for sent in receiver.requests[1:]} == {"POST /new HTTP/1.1"}
    assert receiver.requests[0].headers["webhook-id"] == receiver.requests[1].headers["webhook-id"]


async def test_an_answer_of_before_does_not_count_against_a_mended_table(
    made: Made, store: Store, receiver: Receiver, clock: Clock
) -> None:
    deliverer = made()
    await deliverer.declare()
    await tell(store, "a")
    mended = made(url=receiver.url(path="/new"))

    async def meanwhile(writer: asyncio.StreamWriter) -> None:
        await mended.declare()
        await reply(410)(writer)

    receiver.answer = meanwhile
    assert await ended(deliverer) == 1
    (found,) = await store.hooks.all()
    assert (found.health.off, found.health.failing_since) == (None, None)
    receiver.answer = reply(200)
    clock.forward(SCHEDULE[1])
    assert await ended(mended) == 1
    assert await states(store) == [DeliveryState.DELIVERED]


@pytest.mark.parametrize("answer", [reply(410), reset])
async def test_what_was_claimed_ahead_is_given_back_when_no_more_is_wanted(
    made: Made, store: Store, receiver: Receiver, answer: object
) -> None:
    await tell(store, *(f"job-{number}" for number in range(IN_FLIGHT + AHEAD)))
    receiver.answer = answer  # type: ignore[assignment]  # one of the answers above
    deliverer = made()
    await deliverer.declare()
    # As many as were under way when it was known, and those that followed before.
    assert await ended(deliverer) <= IN_FLIGHT + OPENS_AT
    assert [one.attempts for one in await store.outbox.log()].count(0) > 0
    assert {one.owner for one in await store.outbox.log()} == {None}


async def test_a_dead_receiver_is_left_alone_and_delays_nobody_else(
    made: Made, store: Store, receiver: Receiver, clock: Clock, tmp_path: Path
) -> None:
    script = CommandOptions.model_validate({"kind": "command", "command": ["true"]})
    deliverer = made({"other": Command(script, tmp_path)})
    await deliverer.declare()
    jobs = [f"job-{number}" for number in range(IN_FLIGHT + AHEAD + 10)]
    await tell(store, *jobs)
    receiver.answer = reset
    assert OPENS_AT <= await ended(deliverer) <= IN_FLIGHT + OPENS_AT
    assert await ended(deliverer) == 0
    assert await deliverer.wait("team") == PROBE_AFTER
    assert await ended(deliverer, "other") == 0
    clock.forward(PROBE_AFTER)
    assert await ended(deliverer) == 1
    receiver.answer = reply(200)
    clock.forward(PROBE_AFTER)
    assert await ended(deliverer) == len(jobs)
    assert set(await states(store)) == {DeliveryState.DELIVERED}


async def test_a_refusal_that_repeats_is_said_once(
    made: Made, store: Store, receiver: Receiver, clock: Clock
) -> None:
    deliverer = made()
    await tell(store, "a")
    receiver.answer = reply(404)
    with structlog.testing.capture_logs() as logs:
        for attempt in range(1, 5):
            await ended(deliverer)
            clock.forward(SCHEDULE[attempt])
        receiver.answer = reply(200)
        await ended(deliverer)
    events = [line["event"] for line in logs]
    assert (events.count("hook.refused"), events.count("hook.recovered")) == (1, 1)


async def test_a_command_that_keeps_asking_for_later_is_run_less_and_less_often(
    made: Made, store: Store, clock: Clock, tmp_path: Path
) -> None:
    options = CommandOptions.model_validate({"kind": "command", "command": ["sh", "-c", "exit 75"]})
    deliverer = made({"team": Command(options, tmp_path)})
    await deliverer.declare()
    await tell(store, "a")
    for wait in (*SCHEDULE[1:], SCHEDULE[-1]):
        assert await ended(deliverer) == 1
        assert await deliverer.wait("team") == wait
        clock.forward(wait)
    (one,) = await store.outbox.log()
    assert (one.state, one.attempts) == (DeliveryState.PENDING, 0)
    changed = CommandOptions.model_validate({"kind": "command", "command": ["true"]})
    await ended(deliverer)
    again = made({"team": Command(changed, tmp_path)})
    await again.declare()
    assert await ended(again) == 1
    assert await states(store) == [DeliveryState.DELIVERED]


async def test_a_later_try_is_told_as_no_failure(made: Made, store: Store, tmp_path: Path) -> None:
    options = CommandOptions.model_validate(
        {"kind": "command", "command": ["sh", "-c", "echo busy; exit 75"]}
    )
    deliverer = made({"team": Command(options, tmp_path)})
    await tell(store, "a")
    with structlog.testing.capture_logs() as logs:
        assert await ended(deliverer) == 1
    assert [(line["event"], line["log_level"]) for line in logs] == [("hook.later", "info")]
    (one,) = await store.outbox.log()
    assert (one.state, one.attempts) == (DeliveryState.PENDING, 0)
    assert await deliverer.wait("team") == SCHEDULE[1]


async def test_a_secret_that_is_missing_fails_its_own_hook_and_is_said_at_the_start(
    made: Made, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    deliverer = made()
    await deliverer.declare()
    monkeypatch.delenv("TEAM_HOOK_SECRET")
    await deliverer.check()
    (found,) = await store.hooks.all()
    assert found.health.unfit == "the environment variable TEAM_HOOK_SECRET is not set"
    await tell(store, "a")
    await ended(deliverer)
    assert (await store.outbox.log())[0].last_error == f"not sent: {found.health.unfit}"
    monkeypatch.setenv("TEAM_HOOK_SECRET", make_secret())
    again = made()
    await again.check()
    assert (await store.hooks.all())[0].health.unfit is None
    assert await ended(again) == 1


async def test_one_that_could_not_work_is_looked_at_again_and_said_once(
    made: Made, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    deliverer = made()
    await deliverer.declare()
    secret = os.environ["TEAM_HOOK_SECRET"]
    monkeypatch.delenv("TEAM_HOOK_SECRET")
    with structlog.testing.capture_logs() as logs:
        await deliverer.check()
        await tell(store, "a")
        await ended(deliverer)
        await deliverer.check(unfit=True)
        monkeypatch.setenv("TEAM_HOOK_SECRET", secret)
        await deliverer.check(unfit=True)
        assert await ended(deliverer) == 1
        monkeypatch.delenv("TEAM_HOOK_SECRET")
        await deliverer.check(unfit=True)
    told = [line["event"] for line in logs if line["event"] in ("hook.unfit", "hook.fit")]
    assert told == ["hook.unfit", "hook.fit"]
    assert await states(store) == [DeliveryState.DELIVERED]


async def test_what_is_owed_outlives_a_database_that_does_not_answer(
    made: Made, store: Store, receiver: Receiver
) -> None:
    deliverer = made()
    await tell(store, "a")
    broken = [True]

    async def answer(writer: asyncio.StreamWriter) -> None:
        await store.database.write(_drop_table)
        await reply(200)(writer)

    def _drop_table(tx: Tx) -> None:
        tx.connection.exec_driver_sql("alter table deliveries rename to away")

    def _mend(tx: Tx) -> None:
        tx.connection.exec_driver_sql("alter table away rename to deliveries")

    receiver.answer = answer
    with pytest.raises(StoreError):
        await ended(deliverer)
    broken.clear()
    await store.database.write(_mend)
    assert await ended(deliverer) == 0
    assert await states(store) == [DeliveryState.DELIVERED]
    assert len(receiver.requests) == 1


async def test_one_that_is_cut_off_settles_what_has_ended(
    made: Made, store: Store, receiver: Receiver
) -> None:
    await tell(store, "a", "b")
    quick = reply(200)

    async def answer(writer: asyncio.StreamWriter) -> None:
        await (quick(writer) if len(receiver.requests) == 1 else receiver.hang(writer))

    receiver.answer = answer
    deliverer = made(timeout="30s")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(deliverer.drain, "team")
        with anyio.fail_after(30):
            while DeliveryState.DELIVERED not in await states(store):  # noqa: ASYNC110 - the store tells nobody
                await anyio.sleep(0.01)
        tasks.cancel_scope.cancel()
    await store.leases.let_go()
    receiver.answer = quick
    assert await ended(made()) == 1
    ids = [sent.headers["webhook-id"] for sent in receiver.requests]
    assert (len(ids), len(set(ids))) == (3, 2)


async def test_one_that_is_closed_or_stopping_begins_nothing(made: Made, store: Store) -> None:
    deliverer = made()
    await tell(store, "a")
    deliverer.stopping = lambda: True
    assert await ended(deliverer) == 0
    deliverer.stopping = lambda: False
    await deliverer.close()
    assert await ended(deliverer) == 0
    assert await ended(made()) == 1


async def test_what_is_in_flight_ends_with_the_table_that_it_began_with_and_the_rest_goes_by_the_new_one(
    made: Made, store: Store, receiver: Receiver
) -> None:
    await tell(store, *(f"job-{number}" for number in range(IN_FLIGHT + 2)))
    deliverer = made()

    async def answer(writer: asyncio.StreamWriter) -> None:
        if deliverer.hooks["team"].options != changed.options:
            deliverer.replace({"team": changed})
            await deliverer.close_unused()
        await reply(200)(writer)

    changed = made(timeout="9s").hooks["team"]
    receiver.answer = answer
    first = await ended(deliverer)
    assert 0 < first <= IN_FLIGHT
    tried = [one.state for one in await store.outbox.log() if one.attempts]
    assert tried == [DeliveryState.DELIVERED] * first
    assert await ended(deliverer) == IN_FLIGHT + 2 - first
    assert set(await states(store)) == {DeliveryState.DELIVERED}


async def test_a_table_that_is_the_same_keeps_its_connections(made: Made) -> None:
    deliverer, again = made(), made()
    hook = deliverer.hooks["team"]
    deliverer.replace(again.hooks)
    assert deliverer.hooks["team"] is hook


class Broken(Hook):
    """A hook with a bug: it raises for one job, and takes its time for the others."""

    kind = "broken"
    origin = "broken"

    def __init__(self, error: Exception, folder: Path) -> None:
        super().__init__(CommandOptions.model_validate({"kind": "command", "command": ["true"]}), folder)
        self.error = error
        self.raised = anyio.Event()

    async def send(self, delivery: Delivery) -> str | None:
        if delivery.job == "broken":
            self.raised.set()
            raise self.error
        await self.raised.wait()
        await anyio.lowlevel.checkpoint()
        return None


@pytest.mark.parametrize("error", [KeyError("x"), TypeError("x"), AttributeError("x"), ArithmeticError("x")])
async def test_a_bug_of_a_hook_is_a_failed_attempt_and_ends_no_other(
    made: Made, store: Store, tmp_path: Path, error: Exception
) -> None:
    await tell(store, "broken", "one", "other")
    deliverer = made({"team": Broken(error, tmp_path)})
    assert await ended(deliverer) == 3
    found = {one.job: (one.state, one.attempts, one.last_error) for one in await store.outbox.log()}
    said = f"the hook broke: {type(error).__name__}"
    assert found == {
        "broken": (DeliveryState.PENDING, 1, said),
        "one": (DeliveryState.DELIVERED, 1, None),
        "other": (DeliveryState.DELIVERED, 1, None),
    }


async def test_what_is_claimed_ahead_is_given_back_by_one_that_is_closed(
    made: Made, store: Store, receiver: Receiver
) -> None:
    jobs = [f"job-{number}" for number in range(IN_FLIGHT + AHEAD)]
    await tell(store, *jobs)
    deliverer = made()

    async def answer(writer: asyncio.StreamWriter) -> None:
        await deliverer.close()
        await reply(200)(writer)

    receiver.answer = answer
    sent = await ended(deliverer)
    assert sent == len(receiver.requests)
    assert 0 < sent < len(jobs)
    receiver.answer = reply(200)
    assert await ended(made()) == len(jobs) - sent
    assert {one.attempts for one in await store.outbox.log()} == {1}


def test_a_long_command_line_is_still_a_name(tmp_path: Path) -> None:
    def origin(word: str) -> str:
        options = CommandOptions.model_validate({"kind": "command", "command": ["true", word]})
        return origin_of(Command(options, tmp_path))

    assert origin("x") == "true x"
    assert origin("x" * 5000) != origin("y" * 5000)
    assert len(origin("x" * 5000).encode()) < 200
