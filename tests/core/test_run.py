from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.event import EventType
from orchestrator.core.run import FINAL, Reason, Run, Snapshot, Status, next_call
from orchestrator.core.transition import (
    Transition,
    bind,
    doubt,
    finish,
    look_again,
    observe,
    overdue,
    retreat,
    send,
    step_done,
    step_sent,
    stop_for_person,
)

from .make import NOW, a_run, a_snapshot

LATER = NOW + timedelta(hours=1)
HOUR = timedelta(hours=1)

Move = Callable[[Run, Snapshot, Status], Transition]
SEEN: dict[str, Move] = {
    "observe": lambda run, seen, _: observe(run, seen, LATER),
    "observe a success": lambda run, seen, _: observe(run, seen, LATER, result={"model": "m"}),
    "finish": lambda run, _, status: finish(run, LATER, status=status, message="so it is"),
    "look again": lambda run, *_: look_again(run, due_at=LATER),
    "step sent": lambda run, *_: step_sent(run, "run"),
    "step done": lambda run, seen, _: step_done(run, "run", seen, LATER, result={"model": "m"}),
    "step done unseen": lambda run, *_: step_done(run, "run", None, LATER),
}
OURS: dict[str, Move] = {
    "send": lambda run, *_: send(run, LATER),
    "retreat": lambda run, *_: retreat(run, LATER, reason=None, message="no", due_at=LATER),
    "bind": lambda run, seen, _: bind(run, seen, LATER),
    "doubt": lambda run, *_: doubt(run, LATER, message="lost"),
    "park": lambda run, *_: stop_for_person(run, LATER, reason=Reason.PARKED, message="?", due_at=LATER),
    "conflict": lambda run, *_: stop_for_person(run, LATER, reason=Reason.CONFLICT, message="?"),
}
ENDED = st.sampled_from([Status.QUEUED, Status.RUNNING, *FINAL])
RUNS = st.builds(
    a_run,
    status=st.sampled_from(Status),
    reason=st.none() | st.sampled_from(Reason),
    sequence=st.integers(0, 9),
    steps=st.sampled_from([{}, {"run": "todo"}, {"run": "sent"}]),
    cancel=st.sampled_from([None, "cancel", "delete"]),
    overdue=st.booleans(),
)
SNAPSHOTS = st.builds(a_snapshot, st.none() | ENDED, st.sampled_from(["training", "never heard of"]))


@given(RUNS, SNAPSHOTS, ENDED, st.sampled_from([*SEEN, *OURS]))
def test_every_event_raises_the_sequence_by_one(run: Run, seen: Snapshot, status: Status, how: str) -> None:
    if run.status.final and how in OURS:
        return
    moved = (SEEN | OURS)[how](run, seen, status)
    assert moved.before == run
    assert [event.sequence for event in moved.events] == list(range(run.sequence + 1, moved.run.sequence + 1))
    for event in moved.events:
        assert (event.run_id, event.job, event.account, event.id) == (run.id, run.job, run.account, None)
        assert (event.previous_status, event.timestamp) == (run.status, LATER)
    if moved.events:
        assert moved.events[-1].status == moved.run.status


@given(RUNS, SNAPSHOTS, ENDED, st.sampled_from(list(SEEN)), st.sampled_from(list(OURS)))
def test_a_final_run_never_moves(run: Run, seen: Snapshot, status: Status, how: str, ours: str) -> None:
    if not run.status.final:
        return
    moved = SEEN[how](run, seen, status)
    assert (moved.run.status, moved.run.result, moved.events) == (run.status, run.result, ())
    with pytest.raises(ValueError, match="never moves again"):
        OURS[ours](run, seen, status)


@given(RUNS, SNAPSHOTS, ENDED, st.sampled_from([*SEEN, *OURS]))
def test_no_move_changes_what_was_bought(run: Run, seen: Snapshot, status: Status, how: str) -> None:
    if run.status.final and how in OURS:
        return
    moved = (SEEN | OURS)[how](run, seen, status).run
    for name in ("id", "job", "account", "fingerprint", "attempt", "marker", "spec", "cancel", "epoch"):
        assert getattr(moved, name) == getattr(run, name)
    assert moved.status.final is (moved.finished_at is not None) or run.status.final


@pytest.mark.parametrize(
    ("changes", "call"),
    [
        ({"status": Status.PENDING}, "submit"),
        ({"status": Status.SUBMITTING}, "find"),
        ({"status": Status.IN_DOUBT, "reason": Reason.LOOKING}, "find"),
        ({"status": Status.IN_DOUBT, "reason": Reason.PARKED}, "find"),
        ({"status": Status.IN_DOUBT, "reason": Reason.CONFLICT}, None),
        ({"status": Status.QUEUED}, "poll"),
        ({"status": Status.QUEUED, "steps": {"a": "done", "b": "todo"}}, "step"),
        ({"status": Status.RUNNING, "steps": {"a": "done", "b": "todo"}}, "step"),
        ({"status": Status.RUNNING, "steps": {"run": "done"}}, "poll"),
        ({"status": Status.RUNNING, "cancel": "cancel"}, "cancel"),
        ({"status": Status.RUNNING, "cancel": "cancel", "cancel_sent": True}, "poll"),
        *(({"status": status, "cancel": "cancel"}, None) for status in FINAL),
    ],
)
def test_next_call(changes: dict[str, Any], call: str | None) -> None:
    assert next_call(a_run(**changes)) == call


def test_the_intent_is_stamped_before_the_request_leaves() -> None:
    sent = send(a_run(reason=Reason.LIMIT, message="waits"), NOW)
    assert (sent.run.status, sent.run.sent_at, sent.run.reason) == (Status.SUBMITTING, NOW, None)
    assert sent.events == ()
    back = retreat(sent.run, LATER, reason=Reason.CREDENTIALS, message="refused", due_at=LATER)
    assert (back.run.status, back.run.sent_at, back.run.reason) == (Status.PENDING, None, Reason.CREDENTIALS)


@pytest.mark.parametrize(
    ("seen", "status", "types"),
    [
        (Status.QUEUED, Status.QUEUED, [EventType.SUBMITTED, EventType.QUEUED]),
        (Status.RUNNING, Status.RUNNING, [EventType.SUBMITTED, EventType.RUNNING]),
        (Status.SUCCEEDED, Status.QUEUED, [EventType.SUBMITTED]),
        (Status.FAILED, Status.QUEUED, [EventType.SUBMITTED]),
        (None, Status.QUEUED, [EventType.SUBMITTED]),
    ],
)
def test_binding_tells_what_was_seen_and_invents_nothing(
    seen: Status | None, status: Status, types: list[EventType]
) -> None:
    sent = send(a_run(), NOW).run
    bound = bind(sent, a_snapshot(seen, "word"), LATER)
    assert [event.type for event in bound.events] == types
    assert (bound.run.status, bound.run.remote_id, bound.run.provider_status) == (
        status,
        "ft_narrator_1",
        "word",
    )
    assert (bound.run.submitted_at, bound.run.due_at) == (NOW, LATER)


def test_an_adopted_run_that_was_never_sent_is_submitted_now() -> None:
    assert bind(a_run(), a_snapshot(), LATER).run.submitted_at == LATER


def test_doubt_is_told_once_when_a_person_is_needed() -> None:
    lost = doubt(send(a_run(), NOW).run, NOW, message="reset")
    assert (lost.run.status, lost.run.reason, lost.run.due_at, lost.events) == (
        Status.IN_DOUBT,
        Reason.LOOKING,
        NOW,
        (),
    )
    parked = stop_for_person(lost.run, LATER, reason=Reason.PARKED, message="who knows", due_at=LATER)
    assert [event.type for event in parked.events] == [EventType.IN_DOUBT]
    assert parked.run.stuck
    again = stop_for_person(parked.run, LATER, reason=Reason.CONFLICT, message="two of them")
    assert again.events == ()
    assert (again.run.reason, again.run.sequence) == (Reason.CONFLICT, parked.run.sequence)
    assert look_again(parked.run, due_at=LATER).run.looks == 1


def test_an_unknown_word_is_shown_and_changes_nothing() -> None:
    run = a_run(status=Status.RUNNING, message="fine")
    seen = observe(run, a_snapshot(None, "pondering"), LATER)
    assert (seen.run.status, seen.run.provider_status, seen.run.message, seen.events) == (
        Status.RUNNING,
        "pondering",
        "fine",
        (),
    )


def test_a_listing_that_lags_behind_takes_nothing_back() -> None:
    assert observe(a_run(status=Status.RUNNING), a_snapshot(Status.QUEUED), LATER).events == ()


def test_what_became_of_a_cancellation_is_said_until_the_end() -> None:
    said = "cancel requested, still billing"
    run = a_run(status=Status.QUEUED, cancel="cancel", cancel_sent=True, message=said)
    running = observe(run, a_snapshot(Status.RUNNING), LATER).run
    assert (running.status, running.message) == (Status.RUNNING, said)
    assert observe(running, a_snapshot(Status.FAILED), LATER).run.message is None


def test_a_success_waits_for_its_model() -> None:
    run = a_run(status=Status.RUNNING)
    done = a_snapshot(Status.SUCCEEDED, "completed")
    assert observe(run, done, LATER).run.status is Status.RUNNING
    moved = observe(run, done, LATER, result={"model": "voice_1"})
    assert [event.type for event in moved.events] == [EventType.SUCCEEDED]
    assert (moved.run.result, moved.run.finished_at, moved.run.due_at) == ({"model": "voice_1"}, LATER, None)
    assert moved.events[0].provider_status == "completed"


def test_what_is_found_under_way_goes_on() -> None:
    moved = observe(a_run(status=Status.QUEUED, due_at=NOW), a_snapshot(Status.RUNNING), LATER)
    assert (moved.run.finished_at, moved.run.due_at) == (None, NOW)
    assert finish(a_run(status=Status.RUNNING), NOW, status=Status.LOST).run.provider_status is None


def test_the_calls_after_create_are_recorded_before_and_after() -> None:
    run = a_run(status=Status.QUEUED, steps={"upload": "todo", "run": "todo"})
    assert run.unfinished == "upload"
    sent = step_sent(run, "upload")
    assert sent.run.steps["upload"] == "sent"
    assert sent.run.unfinished == "upload"
    done = step_done(sent.run, "upload", None, LATER)
    assert done.run.unfinished == "run"
    last = step_done(done.run, "run", a_snapshot(Status.RUNNING), LATER)
    assert (last.before, last.run.unfinished, last.run.status) == (done.run, None, Status.RUNNING)


def test_a_lease_is_given_back_in_the_same_commit() -> None:
    kept = send(a_run(owner="me", lease_until=LATER, epoch=3), NOW)
    freed = kept.released()
    assert (kept.run.owner, kept.run.lease_until) == ("me", LATER)
    assert (freed.run.owner, freed.run.lease_until, freed.run.epoch) == (None, None, 3)


@pytest.mark.parametrize(
    ("now", "changes", "told"),
    [
        (LATER, {}, True),
        (LATER - timedelta(microseconds=1), {}, False),
        (LATER, {"overdue": True}, False),
        (LATER, {"submitted_at": None}, False),
        (LATER, {"status": Status.SUCCEEDED}, False),
    ],
)
def test_overdue_is_told_once(now: datetime, changes: dict[str, Any], told: bool) -> None:
    late = overdue(a_run(**{"status": Status.RUNNING, **changes}), now, HOUR)
    assert (late is not None) is told
    if late is not None:
        assert [event.type for event in late.events] == [EventType.OVERDUE]
        assert late.run.overdue
        assert overdue(late.run, now, HOUR) is None


def test_what_follows_in_the_same_commit_is_an_attempt_after_one_that_ended() -> None:
    again = a_run(attempt=2)
    ended = finish(a_run(status=Status.IN_DOUBT), NOW, status=Status.CANCELLED)
    assert replace(ended, then=again).then == again
    for then in (a_run(), replace(again, status=Status.SUBMITTING)):
        with pytest.raises(ValueError, match="another attempt"):
            replace(ended, then=then)
    with pytest.raises(ValueError, match="has ended"):
        Transition(before=a_run(), run=a_run(), then=again)
