"""What `plan` says and `apply` does: nothing is bought twice, nothing without being asked for."""

import pytest
from drive import Place, cartesia, cloudflare, cohere, drop_state, eventually, oxen

LAST = "Plan: {} to create, {} to replace, {} to cancel, {} to update."


def summary(place: Place, *args: str) -> tuple[int, ...]:
    """Return how many a plan would create, replace, cancel and update."""
    found = place("plan", "--json", *args).json["summary"]
    return tuple(found[action] for action in ("create", "replace", "cancel", "update"))


def reason(place: Place, job: str) -> str:
    changes = place("plan", "--json").json["changes"]
    text: str = next(change["reason"] for change in changes if change["job"] == job)
    return text


def test_a_plan_is_empty_after_it_was_applied(place: Place) -> None:
    place.adapter()
    place.write(cartesia("voice"), oxen("chat"), cloudflare("lora"), cohere("labels"))
    text, document, names = place.together(
        ("plan", "--detailed-exitcode"), ("plan", "--json"), ("plan", "-o", "name"), code=None
    )
    assert text.code == 2
    assert text.out.splitlines()[-1] == LAST.format(4, 0, 0, 0)
    assert "  + create voice (cartesia): new job" in text.out
    assert "Cohere ended fine-tuning" in text.out
    assert (document.code, names.code) == (0, 0)
    assert document.json["schema_version"] == 1
    assert document.json["summary"] == {"create": 4, "replace": 0, "cancel": 0, "update": 0}
    first = document.json["changes"][0]
    assert set(first) == {"job", "action", "reason", "provider", "diff"}
    assert (first["job"], first["action"], first["provider"]) == ("voice", "create", "cartesia")
    assert names.out.split() == ["voice", "chat", "lora", "labels"]
    assert place.ledger().requests == []

    place("apply", "-y")
    after = place("plan", "--detailed-exitcode", code=0)
    assert after.out.splitlines()[-1] == "No changes."
    assert "Plan:" not in after.out
    place("apply", "-y", "--wait")
    place("apply")  # with nothing to do nobody is asked
    assert set(place.ledger().counts.values()) == {1}


def test_a_plan_for_a_pull_request_is_markdown_and_nothing_in_it_is_markup(place: Place) -> None:
    place.write(cartesia("voice", dataset="ds-1"), cartesia("broken", dataset="fail-me"))
    place("apply", "-y", "--wait", code=5)
    hostile = "`a|b` @all <img src=x>"
    place.write(cartesia("voice", dataset=hostile), cartesia("broken", dataset="fail-me"), cohere("labels"))
    found = place("plan", "-o", "markdown", "--detailed-exitcode", code=2)
    changed = r"""**Plan: 1 to create, 1 to replace, 0 to cancel, 0 to update.**

| change | job | account | why |
|---|---|---|---|
| replace | `voice` | `cartesia` | spec changed<br>`dataset`: `"ds-1"` → `` "`a\|b` @all <img src=x>" `` |
|  | `broken` | `cartesia` | failed; \`orchestrator retry broken\` buys another attempt |
| create | `labels` | `cohere` | new job |

- warning: """
    assert found.out.startswith(changed)
    assert r"can no longer be reached \(https://docs.cohere.com/" in found.out
    assert "-o markdown is for plan alone" in place("status", "-o", "markdown", code=2).err
    place.write(*(cartesia(f"voice-{number}") for number in range(150)))
    long = place("plan", "-o", "markdown", "--offline").out
    assert "and 50 more" in long
    assert len(long) < 65_000


def test_a_base_that_cartesia_no_longer_trains_is_warned_of(place: Place) -> None:
    jobs = (cartesia("old", model_id="sonic-2"), cartesia("new"))
    place.write(*jobs, accounts="[providers.cartesia]\n")
    warned = "warning: old: since March 2026 Cartesia fine-tunes only the base sonic-3-2026-01-12 (https://"
    found = place("plan").out
    assert found.count("since March 2026") == 1
    assert warned in found
    place.write(*jobs)  # somewhere else it is not known what is trained
    assert "since March 2026" not in place("plan").out


def test_detailed_exit_codes_keep_2_for_changes(place: Place) -> None:
    path = place.write(cartesia("voice"))
    place("plan", "--detailed-exitcode", code=2)
    path.write_text("nonsense")
    place("plan", code=2)
    found = place("plan", "--detailed-exitcode", code=1)
    assert "jobs.toml:1:" in found.err


def test_nothing_is_bought_where_nobody_could_be_asked(place: Place) -> None:
    place.write(cartesia("voice"))
    found = place("apply", code=3)
    assert "-y" in found.err
    assert place.ledger().requests == []
    assert place("status", "--json").json["jobs"] == []


@pytest.mark.parametrize(("answer", "code"), [("n", 3), ("y", 0)])
def test_a_person_is_asked(place: Place, answer: str, code: int) -> None:
    place.write(cartesia("voice"))
    found = place.typed(answer, "apply")
    assert found.code == code
    assert LAST.format(1, 0, 0, 0) in found.out
    assert "Do it?" in found.out
    assert len(place.ledger().created["cartesia"] if code == 0 else []) == (code == 0)
    assert place.ledger().counts.get("cartesia", 0) == (code == 0)


def test_an_edited_spec_waits_for_a_person(place: Place) -> None:
    place.write(cartesia("voice"))
    place.up()
    place.write(cartesia("voice", language="de"))
    daemon = place.start("up")
    daemon.until("job.held", job="voice")
    job = place.job("voice")
    assert (job["status"], job["reason"]) == ("succeeded", "held")
    assert "apply" in job["message"]
    found = place("plan", "--json").json["changes"][0]
    assert found["action"] == "replace"
    assert found["diff"] == [{"path": "language", "before": "en", "after": "de"}]
    assert 'language: "en" -> "de"' in place("plan").out
    assert len(place.ledger().asked("create")) == 1

    said = place("apply", "-y")
    assert "daemon" in said.err
    daemon.until("run.advanced", job="voice", status="succeeded")
    assert daemon.stop() == 0
    assert [row["language"] for row in place.ledger().created["cartesia"]] == ["en", "de"]
    assert place.job("voice")["reason"] is None
    assert summary(place) == (0, 0, 0, 0)


def test_on_change_replace_is_bought_by_the_daemon(place: Place) -> None:
    place.write(cartesia("voice", 'on_change = "replace"'))
    place.up()
    place.write(cartesia("voice", 'on_change = "replace"', language="de"))
    place.up()
    assert [row["language"] for row in place.ledger().created["cartesia"]] == ["en", "de"]


def test_on_change_cancel_then_replace_stops_the_first(place: Place) -> None:
    policy = 'on_change = "cancel_then_replace"'
    place.write(oxen("chat", policy, resource="main/stuck-me.parquet"))
    daemon = place.start("up")
    daemon.until("run.advanced", job="chat", status="running")
    place.write(oxen("chat", policy))
    daemon.until("run.advanced", job="chat", status="succeeded")
    assert daemon.stop() == 0
    ledger = place.ledger()
    assert [row["resource"] for row in ledger.created["oxen"]] == [
        "main/stuck-me.parquet",
        "main/chat.parquet",
    ]
    stop, second = ledger.asked("cancel")[0], ledger.asked("create")[1]
    assert stop["seq"] < second["seq"]
    assert len(ledger.asked("cancel")) == 1
    runs = place("show", "chat", "--json").json["runs"]
    assert [run["status"] for run in runs] == ["cancelled", "succeeded"]


def test_on_change_refuse_buys_nothing(place: Place) -> None:
    place.write(cartesia("voice", 'on_change = "refuse"'))
    place.up()
    place.write(cartesia("voice", 'on_change = "refuse"', language="de"))
    place("plan", "--detailed-exitcode", code=0)
    assert "refuse" in reason(place, "voice")
    place("apply", "-y")
    place.up()
    assert place.ledger().counts["cartesia"] == 1


def test_a_job_that_left_the_files_is_kept(place: Place) -> None:
    place.write(oxen("chat", resource="main/stuck-me.parquet"), cartesia("voice"))
    place("apply", "-y")
    place.write(cartesia("voice"))
    daemon = place.start("up")
    daemon.until("run.advanced", job="voice", status="succeeded")
    assert daemon.stop() == 0
    assert summary(place) == (0, 0, 0, 0)
    assert "unmanaged" in reason(place, "chat")
    found = place.job("chat")
    assert (found["status"], found["managed"]) == ("running", False)
    assert place.ledger().asked("cancel") == []


def test_on_remove_cancel_acts_only_in_a_confirmed_apply(place: Place) -> None:
    place.write(oxen("chat", 'on_remove = "cancel"', resource="main/stuck-me.parquet"), cartesia("voice"))
    place("apply", "-y")
    place.write(cartesia("voice"))
    daemon = place.start("up")
    daemon.until("run.advanced", job="voice", status="succeeded")
    assert summary(place) == (0, 0, 1, 0)
    place("apply", code=3)
    assert place.ledger().asked("cancel") == []
    place("apply", "-y")
    daemon.until("run.advanced", job="chat", status="cancelled")
    assert daemon.stop() == 0
    assert len(place.ledger().asked("cancel", "oxen")) == 1
    assert summary(place) == (0, 0, 0, 0)


def renamed(place: Place) -> str:
    """Let a job that was bought have another name, and return its fine-tune's id."""
    place.write(cartesia("voice", dataset="ds-1"))
    place.up()
    place.write(cartesia("narrator", dataset="ds-1"))
    remote_id: str = place.ledger().created["cartesia"][0]["id"]
    return remote_id


def test_a_renamed_job_is_recognised_and_imported(place: Place) -> None:
    remote_id = renamed(place)
    assert f"orchestrator import narrator {remote_id}" in place("plan").out
    assert summary(place) == (0, 0, 0, 0)
    place("apply", "-y")
    place.up()
    assert place.ledger().counts["cartesia"] == 1
    place("import", "narrator", remote_id, code=3)
    place("import", "narrator", remote_id, "-y")
    found = place("plan", "--json").json
    assert [(change["job"], change["action"], change["reason"]) for change in found["changes"]] == [
        ("narrator", "none", "succeeded")
    ]
    assert place.job("narrator")["remote_id"] == remote_id
    place.up()
    assert place.ledger().counts["cartesia"] == 1


def test_again_buys_what_a_renamed_job_has_done(place: Place) -> None:
    renamed(place)
    assert summary(place, "--again") == (1, 0, 0, 0)
    place("apply", "-y", "--again")
    assert place.ledger().counts["cartesia"] == 2


def test_import_takes_a_fine_tune_that_was_made_elsewhere(place: Place) -> None:
    made = place.seed("cartesia", description="By hand", dataset="ds-1", language="fr")
    place.write(cartesia("voice", dataset="ds-1"))
    place("import", "voice", "ft_not_there", "-y", code=1)
    found = place("import", "voice", made, "-y")
    assert "language differs" in found.err
    assert summary(place) == (0, 0, 0, 0)
    place.up()
    assert place.job("voice")["status"] == "succeeded"
    assert place.ledger().asked("create") == []


def test_going_back_to_an_earlier_spec_buys_nothing(place: Place) -> None:
    place.write(cartesia("voice"))
    place("apply", "-y", "--wait")
    place.write(cartesia("voice", language="de"))
    place("apply", "-y", "--wait")
    place.write(cartesia("voice"))
    assert summary(place) == (0, 0, 0, 1)
    assert "nothing is bought" in reason(place, "voice")
    place("apply", "-y")
    place.up()
    assert place.ledger().counts["cartesia"] == 2
    german, english = place.ledger().created["cartesia"][1], place.ledger().created["cartesia"][0]
    assert german["language"] == "de"
    assert place.job("voice")["remote_id"] == english["id"]


def test_policies_are_no_paid_work(place: Place) -> None:
    hook = '[hooks.note]\nkind = "command"\ncommand = ["true"]\n'
    place.write(cartesia("voice"))
    place.up()
    place.write(cartesia("voice", 'hooks = ["note"]', 'overdue_after = "6h"', 'on_change = "refuse"'), hook)
    found = place("plan", "--detailed-exitcode", code=2)
    assert "~ update voice (cartesia): hooks, on_change, overdue_after changed" in found.out
    assert summary(place) == (0, 0, 0, 1)
    place("apply", "-y")
    assert summary(place) == (0, 0, 0, 0)
    assert place.ledger().counts["cartesia"] == 1


def test_more_new_runs_than_allowed_wait_for_apply(place: Place) -> None:
    jobs = [cartesia(name) for name in ("one", "two", "three")]
    place.write(*jobs, settings="max_new_runs = 2")
    place.up()
    assert place.ledger().requests == []
    held = place.jobs()
    assert {job["reason"] for job in held.values()} == {"held"}
    assert all("max_new_runs" in job["message"] for job in held.values())
    place("apply", "-y")
    place.up()
    assert place.ledger().counts["cartesia"] == 3
    assert {job["status"] for job in place.jobs().values()} == {"succeeded"}


def test_no_apply_leaves_new_work_to_a_person(place: Place) -> None:
    place.write(cartesia("voice"))
    place.up("--no-apply")
    assert place.ledger().requests == []
    assert place.job("voice")["reason"] == "held"


def test_a_lost_database_buys_nothing_again(place: Place) -> None:
    place.adapter()
    place.write(cartesia("voice"), cloudflare("lora"), cohere("labels"))
    place.up()
    first = {name: job["remote_id"] for name, job in place.jobs().items()}
    drop_state(place)
    assert summary(place) == (3, 0, 0, 0)
    place("apply", "-y", "--wait")
    assert place.ledger().counts == {"cartesia": 1, "oxen": 0, "cloudflare": 1, "cohere": 1}
    assert {name: job["remote_id"] for name, job in place.jobs().items()} == first
    assert {row["operation"] for row in place.ledger().refused} <= {"upload"}  # the files are there already


def test_work_at_oxen_has_no_marker_and_waits_for_a_person(place: Place) -> None:
    place.write(oxen("chat"))
    place.up()
    drop_state(place)
    place("apply", "-y", "--wait", code=5)
    job = place.job("chat")
    assert (job["status"], job["reason"]) == ("in_doubt", "conflict")
    remote_id = place.ledger().created["oxen"][0]["id"]
    assert remote_id in job["message"]
    assert len(place.ledger().asked("create")) == len(place.ledger().asked("run")) == 1
    place("resolve", "chat", "--adopt", remote_id, "-y")
    place.up()
    assert place.job("chat")["status"] == "succeeded"
    assert place.ledger().counts["oxen"] == 1


def test_no_more_run_at_once_than_allowed(place: Place) -> None:
    place.write(
        cartesia("one", dataset="stuck-me-1"),
        cartesia("two", dataset="stuck-me-2"),
        accounts=place.accounts(cartesia="max_running = 1"),
    )
    daemon = place.start("up")
    daemon.until("run.advanced", job="one", status="running")
    waiting = eventually(lambda: place.job("two"), "a wait")
    assert (waiting["status"], waiting["reason"]) == ("pending", "limit")
    assert place.ledger().counts["cartesia"] == 1
    place.set("cartesia", place.job("one")["remote_id"], "completed")
    daemon.until("run.advanced", job="two", status="running")
    assert place.ledger().counts["cartesia"] == 2
    assert daemon.stop() == 0


def test_another_address_is_told_by_its_port_too(place: Place) -> None:
    tables = {
        url: f'[providers.cartesia]\nbase_url = "{url}"\n'
        for url in (
            "https://api.cartesia.ai",
            "https://api.cartesia.ai:443/v1",
            "https://api.cartesia.ai:8443",
        )
    }
    for url, table in tables.items():
        place.write(cartesia("voice"), accounts=table)
        told = f"cartesia: requests and credentials go to {url}" in place("plan").out
        assert told is url.endswith(":8443"), url
