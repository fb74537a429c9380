from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.changeset import buying
from orchestrator.core.job import Job, OnChange, OnRemove
from orchestrator.core.plan import Action, AppliedJob, Change, RunSummary, current, diff, plan
from orchestrator.core.run import FINAL, Status

from .make import a_job, a_record, a_run, known

OPEN = sorted(set(Status) - FINAL)


def only(
    jobs: Sequence[Job], records: Sequence[AppliedJob] = (), runs: Sequence[RunSummary] = (), **how: Any
) -> Change:
    """Return the one change that there should be."""
    found = plan(jobs, {record.name: record for record in records}, runs, **how)
    assert len(found.changes) == 1
    return found.changes[0]


def test_a_new_job_is_created() -> None:
    found = plan([a_job("a"), a_job("b", value=1)], {}, ())
    assert [(change.action, change.job, change.reason) for change in found.changes] == [
        (Action.CREATE, "a", "new job"),
        (Action.CREATE, "b", "new job"),
    ]
    assert found.summary == {"create": 2, "replace": 0, "cancel": 0, "update": 0}
    assert not found.empty


@pytest.mark.parametrize("status", Status)
def test_the_same_work_is_left_alone_whatever_became_of_it(status: Status) -> None:
    job = a_job()
    change = only([job], [a_record(job)], [known(a_run(job, status=status))])
    assert change.action is Action.NONE
    assert status in change.reason or change.reason.startswith("in doubt")
    assert ("retry narrator" in change.reason) is (status in FINAL - {Status.SUCCEEDED})


@pytest.mark.parametrize(
    ("policy", "named"),
    [
        ({"hooks": ("team",)}, "hooks changed"),
        ({"on_change": OnChange.REFUSE}, "on_change changed"),
        (
            {"on_remove": OnRemove.CANCEL, "overdue_after": timedelta(hours=1)},
            "on_remove, overdue_after changed",
        ),
    ],
)
def test_a_policy_is_an_update_and_buys_nothing(policy: dict[str, Any], named: str) -> None:
    job = a_job()
    changed = replace(job, policy=replace(job.policy, **policy))
    change = only([changed], [a_record(job)], [known(a_run(job))])
    assert (change.action, change.reason) == (Action.UPDATE, named)


@pytest.mark.parametrize("status", Status)
@pytest.mark.parametrize("on_change", OnChange)
def test_an_edited_spec_replaces_as_the_job_says(on_change: OnChange, status: Status) -> None:
    old = a_job(on_change=on_change)
    run = known(a_run(old, status=status))
    change = only([a_job(value=1, on_change=on_change)], [a_record(old)], [run])
    assert change.run == run
    sent = status in OPEN and status is not Status.PENDING
    if on_change is OnChange.REFUSE:
        assert (change.action, change.notice) == (Action.NONE, True)
        assert "refused" in change.reason
    else:
        assert (change.action, change.notice) == (Action.REPLACE, False)
        cancelled = sent and on_change is OnChange.CANCEL_THEN_REPLACE
        assert ("cancelled first" in change.reason) is cancelled
        assert ("run continues" in change.reason) is (sent and not cancelled)


def test_another_account_is_other_work() -> None:
    old = a_job()
    change = only([a_job(account="oxen")], [a_record(old)], [known(a_run(old))])
    assert change.action is Action.REPLACE
    assert change.reason == "moved from cartesia to oxen"


@pytest.mark.parametrize("status", Status)
def test_back_to_an_earlier_spec_buys_nothing(status: Status) -> None:
    first, second = a_job(), a_job(value=1)
    runs = [known(a_run(first, status=status)), known(a_run(second, status=Status.RUNNING, id="run_second"))]
    change = only([first], [a_record(second)], runs)
    assert (change.action, change.run) == (Action.UPDATE, runs[0])
    assert "nothing is bought" in change.reason


def test_the_latest_attempt_is_the_one_that_counts() -> None:
    job = a_job()
    runs = [known(a_run(job, attempt=attempt, status=Status.FAILED)) for attempt in (1, 3, 2)]
    found = current(job, runs)
    assert found is not None
    assert found.attempt == 3
    assert current(a_job(value=1), runs) is None


def test_a_run_whose_record_was_lost_is_taken_up_again() -> None:
    job = a_job()
    change = only([job], [], [known(a_run(job, status=Status.RUNNING))])
    assert change.action is Action.UPDATE
    assert "it already has a run (running)" in change.reason


@pytest.mark.parametrize("status", Status)
def test_a_renamed_job_is_recognised_as_the_same_work(status: Status) -> None:
    old, new = a_job("old"), a_job("new")
    run = known(a_run(old, status=status))
    change = plan([new], {"old": a_record(old)}, [run]).changes[0]
    assert (change.action, change.notice, change.run) == (Action.NONE, True, run)
    assert f"`orchestrator import new {run.remote_id or run.id}`" in change.reason
    assert ("`orchestrator retry new`" in change.reason) is (status in FINAL - {Status.SUCCEEDED})
    bought = plan([new], {"old": a_record(old)}, [run], again=True).changes[0]
    assert (bought.action, bought.run) == (Action.CREATE, None)


def test_a_renamed_job_does_not_cancel_what_it_may_take_over() -> None:
    old = a_job("old", on_remove=OnRemove.CANCEL)
    run = known(a_run(old, status=Status.RUNNING))
    found = plan([a_job("new")], {"old": a_record(old)}, [run])
    assert [change.action for change in found.changes] == [Action.NONE, Action.NONE]
    again = plan([a_job("new")], {"old": a_record(old)}, [run], again=True)
    assert [change.action for change in again.changes] == [Action.CREATE, Action.CANCEL]


@given(st.lists(st.tuples(st.sampled_from(("old", "older")), st.sampled_from(Status)), min_size=1))
def test_a_new_name_never_buys_again_unasked_and_the_best_run_is_named(
    attempts: list[tuple[str, Status]],
) -> None:
    runs = [
        known(a_run(a_job(name), attempt=number, status=status, id=f"run_{number}"))
        for number, (name, status) in enumerate(attempts, 1)
    ]
    records = {name: a_record(a_job(name)) for name, _ in attempts}
    found = plan([a_job("new")], records, runs)
    assert buying(found) == ()
    named = found.changes[0].run
    assert named is not None
    statuses = {status for _, status in attempts}
    if Status.SUCCEEDED in statuses:
        assert named.status is Status.SUCCEEDED
    elif not statuses <= FINAL:
        assert named.status in OPEN
    else:
        assert named == runs[-1]
    assert [change.job for change in buying(plan([a_job("new")], records, runs, again=True))] == ["new"]


def test_two_declared_jobs_may_ask_for_the_same_work() -> None:
    one, other = a_job("one"), a_job("other")
    found = plan([one, other], {"one": a_record(one)}, [known(a_run(one, status=Status.RUNNING))])
    assert [change.action for change in found.changes] == [Action.NONE, Action.CREATE]


@pytest.mark.parametrize("status", Status)
@pytest.mark.parametrize("on_remove", OnRemove)
def test_a_job_that_left_the_files_is_cancelled_only_where_it_said_so(
    on_remove: OnRemove, status: Status
) -> None:
    job = a_job(on_remove=on_remove)
    change = only([], [a_record(job)], [known(a_run(job, status=status))])
    cancelled = on_remove is OnRemove.CANCEL and status in OPEN
    assert change.action is (Action.CANCEL if cancelled else Action.NONE)
    assert change.notice


def test_a_cancellation_is_asked_for_once() -> None:
    job = a_job(on_remove=OnRemove.CANCEL)
    run = known(a_run(job, status=Status.RUNNING, cancel="cancel"))
    assert only([], [a_record(job)], [run]).action is Action.NONE


def test_what_was_never_bought_leaves_without_a_notice() -> None:
    change = only([], [a_record(a_job())])
    assert (change.action, change.notice) == (Action.NONE, False)
    assert change.reason == "removed from the files before anything was bought"


def test_diff_names_every_path_that_differs() -> None:
    before = {"a": 1, "t": {"x": 1, "y": [1, 2]}, "gone": True, "same": {"k": None}}
    after = {"a": 1, "t": {"x": 2, "y": [1, 3]}, "new": {"k": 1}, "same": {"k": None}}
    assert list(diff(before, after)) == [
        {"path": "gone", "before": True, "after": None},
        {"path": "new", "before": None, "after": {"k": 1}},
        {"path": "t.x", "before": 1, "after": 2},
        {"path": "t.y", "before": [1, 2], "after": [1, 3]},
    ]
    assert list(diff(before, before)) == []
