from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import count
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.changeset import Changeset, hold, make_changeset
from orchestrator.core.job import Job, OnChange, OnRemove
from orchestrator.core.plan import Action, Plan, plan
from orchestrator.core.run import FINAL, Status

from .make import NOW, PROJECT, State, a_job, a_record

NUMBERS = count()


def enacted(found: Plan, state: State, held: Mapping[str, str] | None = None) -> Changeset:
    return make_changeset(
        found,
        tuple(state.runs.values()),
        project=PROJECT,
        now=NOW,
        make_id=lambda: f"run_{next(NUMBERS)}",
        steps={"oxen": ("run",)},
        held=held,
    )


def planned(jobs: Sequence[Job], state: State, *, again: bool = False) -> Plan:
    return plan(jobs, state.records, state.runs.values(), again=again)


def applied(jobs: Sequence[Job], state: State, held: Mapping[str, str] | None = None) -> Changeset:
    writes = enacted(planned(jobs, state), state, held)
    state.write(writes)
    return writes


def moved(state: State, run_id: str, status: Status) -> None:
    state.runs[run_id] = replace(state.runs[run_id], status=status)


JOBS = st.builds(
    a_job,
    st.sampled_from("abc"),
    account=st.sampled_from(["cartesia", "oxen"]),
    value=st.integers(0, 2),
    hooks=st.sampled_from([(), ("team",)]),
    on_change=st.sampled_from(OnChange),
    on_remove=st.sampled_from(OnRemove),
)
FILES = st.lists(JOBS, max_size=3, unique_by=lambda job: job.name)
STORY = st.lists(st.tuples(FILES, st.booleans(), st.lists(st.sampled_from(Status), max_size=4)), max_size=5)


def lived(story: Sequence[tuple[Sequence[Job], bool, Sequence[Status]]]) -> State:
    """Apply one version of the files after the other, while the runs move on."""
    state = State()
    for jobs, by_itself, statuses in story:
        found = planned(jobs, state)
        held = hold(found, limit=2) if by_itself else {}
        state.write(enacted(found, state, held))
        for run, status in zip(list(state.runs.values()), statuses, strict=False):
            if not run.status.final and status is not Status.PENDING:
                moved(state, run.id, status)
    return state


@given(STORY, FILES, st.booleans())
def test_after_an_apply_there_is_nothing_to_do(
    story: Sequence[Any], jobs: Sequence[Job], again: bool
) -> None:
    state = lived(story)
    state.write(enacted(planned(jobs, state, again=again), state))
    assert planned(jobs, state).empty


@given(STORY, FILES)
def test_no_story_buys_the_same_work_of_a_job_twice(story: Sequence[Any], jobs: Sequence[Job]) -> None:
    state = lived(story)
    applied(jobs, state)
    work = [(run.job, run.account, run.fingerprint) for run in state.runs.values()]
    assert len(set(work)) == len(work)


@given(STORY, FILES)
def test_the_daemon_by_itself_does_no_more_than_a_person(story: Sequence[Any], jobs: Sequence[Job]) -> None:
    state = lived(story)
    found = planned(jobs, state)
    writes = enacted(found, state, hold(found, limit=2))
    assert len(writes.runs) <= 2
    buying = {change.job for change in found.changes if change.action in (Action.CREATE, Action.REPLACE)}
    assert {run.job for run in writes.runs} <= buying


def test_a_new_run_is_pending_with_its_marker_and_the_calls_after_create() -> None:
    state = State()
    writes = applied([a_job(), a_job("sweep", account="oxen")], state)
    assert [run.status for run in writes.runs] == [Status.PENDING] * 2
    assert [dict(run.steps) for run in writes.runs] == [{}, {"run": "todo"}]
    assert len({run.marker for run in writes.runs}) == 2
    assert all((run.project, run.attempt, run.due_at) == (PROJECT, 1, NOW) for run in writes.runs)
    assert writes.records == tuple(map(a_record, (a_job(), a_job("sweep", account="oxen"))))


def test_a_replacement_leaves_the_run_before_it_alone_unless_it_was_never_sent() -> None:
    for status in Status:
        state = State()
        applied([a_job(on_change=OnChange.REPLACE)], state)
        (first,) = state.runs
        moved(state, first, status)
        writes = applied([a_job(value=1, on_change=OnChange.REPLACE)], state)
        assert writes.cancels == ((first,) if status is Status.PENDING else ())
        assert [run.after for run in writes.runs] == [None]


def test_cancel_then_replace_waits_for_the_end_of_the_run_before() -> None:
    for status in Status:
        state = State()
        applied([a_job(on_change=OnChange.CANCEL_THEN_REPLACE)], state)
        (first,) = state.runs
        moved(state, first, status)
        (run,) = applied([a_job(value=1, on_change=OnChange.CANCEL_THEN_REPLACE)], state).runs
        open_there = status not in FINAL and status is not Status.PENDING
        assert run.after == (first if open_there else None)
        assert (first in state.runs and state.runs[first].cancelling) is open_there


def test_refuse_writes_nothing() -> None:
    state = State()
    applied([a_job()], state)
    writes = applied([a_job(value=1, on_change=OnChange.REFUSE)], state)
    assert (writes.records, writes.runs, writes.cancels) == ((), (), ())


def test_what_left_the_files_is_named_and_cancelled_where_it_said_so() -> None:
    state = State()
    applied([a_job("kept"), a_job("ended", value=1, on_remove=OnRemove.CANCEL)], state)
    ended = next(run.id for run in state.runs.values() if run.job == "ended")
    moved(state, ended, Status.RUNNING)
    writes = applied([], state)
    assert set(writes.unmanaged) == {"kept", "ended"}
    assert writes.cancels == (ended,)


def test_a_held_change_keeps_what_its_run_was_bought_for_and_says_why() -> None:
    state = State()
    old, new = a_job(), a_job(value=1, hooks=("team",))
    applied([old], state)
    found = planned([new], state)
    held = hold(found, limit=20)
    assert held == {"narrator": "its spec changed; review it with `orchestrator apply`"}
    writes = enacted(found, state, held)
    state.write(writes)
    assert writes.runs == ()
    assert state.records["narrator"] == a_record(new, fingerprint=old.fingerprint, held=held["narrator"])
    assert planned([new], state).changes[0].action is Action.REPLACE
    applied([old], state)
    assert state.records["narrator"].held is None


def test_a_held_new_job_is_still_new_afterwards() -> None:
    state = State()
    applied([a_job()], state, {"narrator": "new work waits"})
    assert state.records["narrator"].held == "new work waits"
    assert planned([a_job()], state).changes[0].action is Action.CREATE
    applied([a_job()], state)
    assert not any(record.held for record in state.records.values())
    assert len(state.runs) == 1


@pytest.mark.parametrize(("limit", "held"), [(1, 2), (2, 0)])
def test_more_new_runs_than_allowed_start_none(limit: int, held: int) -> None:
    found = planned([a_job("a"), a_job("b")], State())
    reasons = hold(found, limit=limit)
    assert len(reasons) == held
    assert all(f"max_new_runs is {limit}" in why for why in reasons.values())


def test_a_replacement_that_is_held_anyway_does_not_count() -> None:
    state = State()
    applied([a_job("a")], state)
    found = planned([a_job("a", value=1), a_job("b")], state)
    assert set(hold(found, limit=1)) == {"a"}


def test_no_apply_leaves_all_new_work_to_a_person() -> None:
    state = State()
    applied([a_job("a", on_change=OnChange.REPLACE)], state)
    found = planned([a_job("a", value=1, on_change=OnChange.REPLACE), a_job("b")], state)
    assert hold(found, limit=20) == {}
    assert set(hold(found, limit=20, apply_new=False)) == {"a", "b"}
