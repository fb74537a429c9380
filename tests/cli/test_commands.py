"""Every command as a script and a person use it: its documents, its other forms, its exit codes."""

import json
import re
import shutil
import signal
import sqlite3
import stat
import tomllib
from collections.abc import Sequence
from pathlib import Path

import pytest
from drive import Place, cartesia, cloudflare, cohere, oxen
from listener import Listener
from standardwebhooks import Webhook

from orchestrator.cli import COMMANDS

OPERATIONS = (Path(__file__).parents[2] / "docs" / "operations.md").read_text("utf-8")
JOB = {
    *("job", "provider", "status", "provider_status", "remote_id", "run_id", "attempt", "result", "reason"),
    *("message", "submitted_at", "finished_at", "updated_at", "confirmed_at"),
}
GROUPS = {
    "hooks": ("test", "log", "secret"),
    "db": ("upgrade", "current", "check", "backup"),
    "config": ("show",),
}


def stages(place: Place) -> None:
    """Have a job that succeeded, one that failed and one that goes on."""
    place.write(cartesia("done"), oxen("broken", resource="main/fail-me"), oxen("busy", resource="stuck-me"))
    daemon = place.start("up")
    daemon.until("run.advanced", job="done", status="succeeded")
    daemon.until("run.advanced", job="broken", status="failed")
    daemon.until("run.advanced", job="busy", status="running")
    assert daemon.stop() == 0


def test_documents_for_scripts(place: Place) -> None:
    stages(place)
    calls: Sequence[tuple[str, ...]] = (
        ("status", "--json"),
        ("-o", "jsonl", "status"),
        ("status", "-o", "name", "done", "busy"),
        ("show", "done", "--json"),
        ("events", "done", "--json"),
        ("events", "-o", "jsonl"),
        ("providers", "--json"),
        ("validate", "--json"),
        ("config", "show", "--json"),
        ("db", "current", "--json"),
        ("wait", "done", "--json"),
        ("plan", "-o", "jsonl"),
    )
    found = dict(zip(calls, place.together(*calls), strict=True))
    assert not any("\x1b" in each.out + each.err for each in found.values())
    whole = found["status", "--json"].json
    assert set(whole) >= {"schema_version", "jobs", "providers", "daemon"}
    assert whole["schema_version"] == 1
    jobs = {job["job"]: job for job in whole["jobs"]}
    assert all(set(job) >= JOB for job in jobs.values())
    assert [jobs[name]["status"] for name in ("done", "broken", "busy")] == ["succeeded", "failed", "running"]
    done, busy = jobs["done"], jobs["busy"]
    assert (done["attempt"], done["finished_at"][-1], busy["finished_at"]) == (1, "Z", None)
    assert done["result"]["model"]
    assert busy["confirmed_at"] >= busy["submitted_at"]
    accounts = {account["provider"]: account for account in whole["providers"]}
    keys = {"provider", "kind", "state", "reason", "confirmed_at", "next_poll_at", "open"}
    assert all(set(account) >= keys for account in accounts.values())
    assert (accounts["oxen"]["open"], accounts["cartesia"]["state"]) == (1, "idle")
    assert set(whole["daemon"]) >= {"seen_at", "host", "pid"}
    assert {job["job"] for job in found["-o", "jsonl", "status"].lines} == set(jobs)
    assert found["status", "-o", "name", "done", "busy"].out.split() == ["busy", "done"]
    shown = found["show", "done", "--json"].json
    assert set(shown) >= JOB
    assert shown["runs"][0]["marker"].startswith("ft1-")
    events = found["events", "done", "--json"].json
    assert events["schema_version"] == 1
    assert [event["type"] for event in events["events"]][-1] == "job.succeeded"
    assert len(found["events", "-o", "jsonl"].lines) > len(events["events"])
    kinds = {kind["kind"] for kind in found["providers", "--json"].json["kinds"]}
    assert kinds == {"cartesia", "oxen", "cloudflare", "cohere"}
    assert found["validate", "--json"].json["jobs"] == ["done", "broken", "busy"]
    assert found["config", "show", "--json"].json["settings"]["project"] == place.name
    assert found["db", "current", "--json"].json["revision"]
    assert found["wait", "done", "--json"].json["jobs"][0]["job"] == "done"
    assert {change["action"] for change in found["plan", "-o", "jsonl"].lines} == {"none"}


def test_tables_for_people(place: Place) -> None:
    stages(place)
    calls = [("status",), ("show", "broken"), ("events",), ("providers",), ("validate",), ("config", "show")]
    status, show, events, providers, validate, config = place.together(*calls)
    assert "broken" in status.out
    assert "failed" in status.out
    assert "No daemon is running (last seen " in status.err
    assert "marker" in show.out
    assert "job.failed" in events.out
    assert "Cohere ended fine-tuning" in providers.err
    assert "3 jobs" in validate.out
    assert "poll_interval" in config.out
    assert "ORCHESTRATOR_POLL_INTERVAL" in config.out


def test_an_account_that_nobody_looked_at_says_so(place: Place) -> None:
    place.write(cartesia("busy", dataset="stuck-me"))
    place("apply", "-y")
    assert "cartesia: not polled yet" in place("status").err


def test_help_of_everything(place: Place) -> None:
    calls: list[tuple[str, ...]] = [(name, "--help") for name in COMMANDS]
    calls += [(group, name, "-h") for group, names in GROUPS.items() for name in names]
    for found in place.together((), ("--help",), ("-h",), *calls, code=None):
        assert found.code == (2 if found.args == () else 0)
        assert "Usage: orchestrator" in found.out + found.err
    assert place("version").out.startswith("orchestrator ")
    assert place("--version").out == place("version").out


def test_wrong_use_is_code_2(place: Place) -> None:
    place.write(cartesia("voice"))
    calls = [
        ("stats",),
        ("status", "--nonsense"),
        ("-o", "yaml", "status"),
        ("wait",),
        ("wait", "voice", "--timeout", "soon"),
        ("wait", "voice", "--for", "happy"),
        ("-C", "nowhere", "status"),
        ("-f", "nowhere.toml", "plan"),
    ]
    found = place.together(*calls, code=2)
    assert "status" in found[0].err
    assert "nowhere" in found[6].err
    assert "nowhere.toml" in found[7].err


def test_an_unknown_job_is_code_1(place: Place) -> None:
    place.write(cartesia("voice"))
    calls = [
        ("status", "nobody"),
        ("show", "nobody"),
        ("wait", "nobody"),
        ("cancel", "nobody", "-y"),
        ("retry", "nobody", "-y"),
        ("import", "nobody", "ft_1", "-y"),
        ("why", "nobody"),
        ("hooks", "test", "nobody"),
    ]
    for found in place.together(*calls, code=1):
        assert "nobody" in found.err, found


def test_colours_only_for_a_terminal_that_wants_them(place: Place) -> None:
    place.write(cartesia("voice"))
    place("apply", "-y", "--wait")
    assert "\x1b[" in place.typed("", "status").out
    place.env["NO_COLOR"] = "1"
    assert "\x1b[" not in place.typed("", "status").out
    assert "\x1b[" in place("--color", "always", "status").out
    del place.env["NO_COLOR"]
    assert "\x1b" not in place("status").out


def test_where_the_files_are(place: Place) -> None:
    deep = place.folder / "a" / "b"
    deep.mkdir(parents=True)
    place.write(cartesia("one"))
    more = place.folder / "more"
    more.mkdir()
    (more / "two.toml").write_text(cartesia("two"))
    (more / "three.toml").write_text(cartesia("three"))
    (more / "notes.txt").write_text("not a job file")

    def jobs(*args: str, **given: str) -> list[str]:
        return list(place("validate", "-o", "name", *args, env=given, cwd=deep).out.split())

    assert "orchestrator init" in place("validate", cwd=deep, code=2).err
    (place.folder / ".git").mkdir()
    assert jobs() == ["one"]  # upward, but within a repository only
    assert jobs("-C", "../..") == ["one"]
    assert jobs("-f", "../../jobs.toml", "-f", "../../more/two.toml") == ["one", "two"]
    assert jobs("-f", "../../jobs.toml", "-f", "../../more") == ["one", "three", "two"]
    assert jobs(ORCHESTRATOR_FILE="../../more") == ["three", "two"]
    assert jobs("-f", "../../jobs.toml", ORCHESTRATOR_FILE="../../more") == ["one"]
    (more / "two.toml").write_text(cartesia("three"))
    twice = place("validate", "-f", "more", code=2).err
    assert "three.toml" in twice
    assert "two.toml" in twice
    (deep / ".git").mkdir()
    assert "orchestrator init" in place("validate", cwd=deep, code=2).err


def test_the_environment_overrides_settings(place: Place) -> None:
    place.write(cartesia("voice"), settings='database = "sqlite:///named.db"\nmax_new_runs = 3')
    other = {"ORCHESTRATOR_DATABASE": "sqlite:///other.db", "ORCHESTRATOR_MAX_NEW_RUNS": "7"}
    place("db", "upgrade")
    assert (place.folder / "named.db").exists()
    place("db", "upgrade", env=other)
    assert (place.folder / "other.db").exists()
    found = place("config", "show", "--json", env=other).json["settings"]
    assert found["max_new_runs"] == 7
    shown = place("config", "show", "--json").json
    assert shown["from"] | {"database": "jobs.toml:3", "max_new_runs": "jobs.toml:4"} == shown["from"]
    assert shown["from"]["poll_interval"] == "ORCHESTRATOR_POLL_INTERVAL"
    assert shown["from"]["hooks"] == "default"
    del place.env["ORCHESTRATOR_POLL_INTERVAL"]
    tried = place("--sandbox", "config", "show", "--json").json
    assert tried["settings"]["database"].endswith("/.orchestrator/sandbox.db")
    assert tried["settings"]["poll_interval"] == "1s"
    assert tried["from"] == shown["from"] | dict.fromkeys(("database", "poll_interval"), "--sandbox")
    for name, value in (("POLL_INTERVAL", "10ms"), ("DATABASE", "mysql://x"), ("MAX_NEW_RUNS", "many")):
        refused = place("plan", env={f"ORCHESTRATOR_{name}": value}, code=2)
        assert f"ORCHESTRATOR_{name}" in refused.err


def test_wait(place: Place) -> None:
    stages(place)
    place("wait", "done")
    place("wait", "done", "broken", code=5)
    place("wait", "busy", "--for", "running")
    place("wait", "busy", "--for", "queued")
    place("wait", "broken", "--for", "succeeded", code=5)
    place("wait", "broken", "--for", "failed")
    assert "the runs continue" in place("wait", "busy", "--timeout", "300ms", code=3).err
    waiting = place.start("wait", "busy")
    place.until(lambda: "running" in waiting.err)
    waiting.signal(signal.SIGINT)
    assert waiting.wait() == 130
    waiting = place.start("wait", "busy")
    place.until(lambda: "running" in waiting.err)
    assert waiting.stop() == 143


def test_events_follow(place: Place) -> None:
    place.write(cartesia("one"))
    place.up()
    follow = place.start("events", "--follow", "-o", "jsonl")
    place.until(lambda: "job.succeeded" in follow.out)
    place.write(cartesia("one"), cartesia("two"))
    place.up()
    place.until(lambda: sum("job.succeeded" in line for line in follow.out.splitlines()) == 2)
    follow.signal(signal.SIGINT)
    assert follow.wait() == 130
    rows = [json.loads(line) for line in follow.out.splitlines()]
    assert rows == place.events()


def test_cancel_stops_what_can_be_stopped(place: Place) -> None:
    place.write(oxen("busy", resource="stuck-me"))
    place("apply", "-y")
    place("cancel", "busy", code=3)
    assert place.ledger().asked("cancel") == []
    place("cancel", "busy", "-y")
    assert len(place.ledger().asked("cancel", "oxen")) == 1
    place.up(code=5)
    assert place.job("busy")["status"] == "cancelled"
    place("cancel", "busy", "-y", code=1)
    assert len(place.ledger().asked("cancel")) == 1


def test_cancel_never_deletes_unless_told_to(place: Place) -> None:
    place.write(cartesia("voice", dataset="stuck-me"))
    place("apply", "-y")
    said = place("cancel", "voice", "-y").err
    assert "no cancel" in said
    assert "billing continues" in said
    assert "--delete" in said
    job = place.job("voice")
    assert (job["status"], job["cancel_requested"]) == ("running", True)
    assert place.ledger().asked("delete") == []
    place("cancel", "voice", "--delete", "-y")
    assert len(place.ledger().asked("delete", "cartesia")) == 1
    assert place.job("voice")["status"] == "cancelled"


def test_cancel_before_it_was_sent_asks_nobody(place: Place) -> None:
    place.write(cartesia("voice"))
    place("apply", "-y", env={"CARTESIA_API_KEY": ""}, code=4)
    place("cancel", "voice", "-y", env={"CARTESIA_API_KEY": ""})
    assert place.job("voice")["status"] == "cancelled"
    place("apply", "-y")
    assert place.ledger().requests == []


def test_cancel_stops_what_was_started_before_it_was_known(place: Place) -> None:
    place.write(oxen("busy", resource="stuck-me"))
    place("apply", "-y")
    shutil.rmtree(place.folder / ".orchestrator")
    place("apply", "-y")
    (made,) = place.ledger().created["oxen"]
    place("resolve", "busy", "--adopt", made["id"], "-y")
    place("cancel", "busy", "-y")
    assert len(place.ledger().asked("cancel", "oxen")) == 1


def test_a_draft_that_was_never_started_is_given_up_without_a_request(place: Place) -> None:
    place.write(oxen("draft"))
    place("apply", "-y", env={"ORCHESTRATOR_CRASH": "id-stored:kill"}, code=-signal.SIGKILL)
    place("cancel", "draft", "-y")
    assert place.job("draft")["status"] == "cancelled"
    assert place.ledger().asked("run") == place.ledger().asked("cancel") == []


def test_an_upload_that_was_cut_off_is_taken_up_again(place: Place) -> None:
    place.adapter()
    place.write(cloudflare("lora"))
    place("apply", "-y", env={"ORCHESTRATOR_CRASH": "step-stored:kill:2"}, code=-signal.SIGKILL)
    place.up()
    assert place.job("lora")["status"] == "succeeded"
    assert len(place.ledger().asked("upload")) == 2


def test_retry_buys_another_attempt(place: Place) -> None:
    place.write(cartesia("voice", dataset="fail-me"), cartesia("fine"))
    place.up(code=5)
    place("retry", "voice", code=3)
    place("retry", "fine", "-y", code=1)
    assert place.ledger().counts["cartesia"] == 2
    place("retry", "voice", "-y")
    first, _, second = place.ledger().created["cartesia"]
    assert first["name"] == second["name"] == "voice"
    assert first["description"] != second["description"]  # a marker of its own
    assert place.job("voice")["attempt"] == 2
    place("retry", "voice", "-y", code=1)  # one that runs is not retried
    place.up(code=5)
    runs = place("show", "voice", "--json").json["runs"]
    assert [(run["attempt"], run["status"]) for run in runs] == [(1, "failed"), (2, "failed")]
    assert place.ledger().counts["cartesia"] == 3


def test_hooks(place: Place, listener: Listener) -> None:
    closed = '[hooks.closed]\nkind = "webhook"\nurl = "http://127.0.0.1:9/"\nallow_private = true\n'
    closed += 'secret = { env = "TEAM_HOOK_SECRET" }\n'
    place.write(
        cartesia("voice", 'hooks = ["team"]'), accounts=place.accounts() + listener.table("team") + closed
    )
    place("hooks", "test", "team")
    assert [message.type for message in listener.messages] == ["job.succeeded"]
    place("hooks", "test", "team", "--event", "job.failed")
    assert listener.messages[-1].type == "job.failed"
    assert "closed" in place("hooks", "test", "closed", code=1).err
    refused = place("hooks", "test", "team", env={"TEAM_HOOK_SECRET": ""}, code=1)
    assert "TEAM_HOOK_SECRET" in refused.err
    assert place("hooks", "log", "--json").json == {"schema_version": 1, "deliveries": []}
    place.up()
    (row,) = place("hooks", "log", "--json").json["deliveries"]
    assert set(row) >= {
        *("id", "hook", "event", "job", "state", "attempts", "due_at", "settled_at", "last_error"),
    }
    assert (row["state"], row["attempts"], row["id"]) == ("delivered", 1, listener.messages[-1].id)
    assert place("hooks", "log", "-o", "name").out.split() == [row["id"]]
    assert place("hooks", "log", "--hook", "closed", "-o", "name").out == ""
    secret = place("hooks", "secret").out.strip()
    assert secret.startswith("whsec_")
    Webhook(secret)
    assert secret != place("hooks", "secret").out.strip()


def test_database(place: Place) -> None:
    place.write(cartesia("voice"))
    place("db", "upgrade")
    revision = place("db", "current").out.strip()
    assert revision != "empty"
    place("apply", "-y")
    place("db", "check")
    place("db", "backup", "saved.db")
    assert stat.S_IMODE((place.folder / "saved.db").stat().st_mode) == 0o600
    place("db", "backup", "saved.db", code=1)
    before = place.job("voice")
    (place.folder / ".orchestrator" / "state.db").unlink()
    env = {"ORCHESTRATOR_DATABASE": "sqlite:///saved.db"}
    assert place("status", "--json", env=env).json["jobs"][0]["run_id"] == before["run_id"]


def test_init_validate_and_try(place: Place) -> None:
    place("init")
    place("init", code=1)
    place("init", "--force")
    place("validate")
    assert place("schema").json == json.loads((place.folder / "jobs.schema.json").read_text())
    place("--sandbox", "apply", "-y", "--wait", env={"ORCHESTRATOR_SANDBOX_STAGE_SECONDS": "0"})
    assert place.ledger().requests == []
    new = place.folder / "new"
    place("-C", "new", "init", code=1)
    new.mkdir()
    place("-C", "new", "init")
    assert 'project = "new"' in (new / "jobs.toml").read_text()


def test_completion(place: Place) -> None:
    for shell in ("bash", "zsh", "fish"):
        assert "_ORCHESTRATOR_COMPLETE" in place("completion", shell).out
    place("completion", "tcsh", code=2)
    assert completed(place, "bash", "sta") == ["status"]
    path = place.write(cartesia("voice"), oxen("chat"), accounts=place.accounts() + HOOK)
    for shell in ("bash", "zsh", "fish"):
        assert completed(place, shell, "show vo") == ["voice"]
        assert completed(place, shell, "cancel -y ") == ["voice", "chat"]
        assert completed(place, shell, "why voice ") == ["chat"]
        assert completed(place, shell, "show voice ") == []
        assert completed(place, shell, "audit ox") == ["oxen"]
        assert completed(place, shell, "hooks test ") == ["team"]
        assert completed(place, shell, "hooks redeliver --hook t") == ["team"]
    assert completed(place, "bash", "wait voice --for suc") == ["succeeded"]
    assert completed(place, "bash", "show --js") == ["--json"]
    assert completed(place, "bash", "-f nowhere.toml show ") == []
    (place.folder / "other.toml").write_text('[jobs.other]\n[jobs."$(rm -r .)"]\n')
    assert completed(place, "bash", "-f other.toml show ") == ["other"]
    path.write_text("jobs = [")
    assert completed(place, "bash", "show ") == []
    assert not (place.folder / ".orchestrator").exists()


HOOK = '[hooks.team]\nkind = "command"\ncommand = ["true"]\n'


def completed(place: Place, shell: str, line: str) -> list[str]:
    """Return what a shell offers for the last word of a line."""
    words = f"orchestrator {line}"
    last = line.rpartition(" ")[2]
    current = last if shell == "fish" else str(words.count(" "))
    env = {"_ORCHESTRATOR_COMPLETE": f"{shell}_complete", "COMP_CWORD": current}
    found = place(env=env | {"COMP_WORDS": words.removesuffix(last) if shell == "fish" else words})
    assert found.err == ""
    lines = found.out.strip("\n").splitlines()
    if shell == "zsh":
        return lines[1::3]
    return [each.partition(",")[2].partition("\t")[0] for each in lines]


def test_the_sandbox_by_itself(place: Place) -> None:
    running = place.start("sandbox", "--port", "0", "--stage-seconds", "0")
    place.until(lambda: "http://" in running.out)
    url = running.out.split()[-1]
    assert place.client.get(f"{url}/_sandbox/ledger").json()["requests"] == []
    place.until(lambda: "[providers.cohere]" in running.err)
    said = re.findall(r'base_url = "(\S+)"', running.err)
    tables = re.findall(r"```toml\n(.*?)```", OPERATIONS, re.DOTALL)
    table = next(body for body in tables if "base_url" in body)
    table = table.replace("http://127.0.0.1:8790", url)
    assert [account["base_url"] for account in tomllib.loads(table)["providers"].values()] == said
    (place.folder / "jobs.toml").write_text(table)
    checks = place("doctor", "--json", env={"SANDBOX_KEY": "any"}).json["checks"]
    states = {one["name"]: one["state"] for one in checks if one["what"] == "account"}
    assert states == dict.fromkeys(("cartesia", "oxen", "cloudflare", "cohere"), "ok")
    port = url.rpartition(":")[2]
    refused = place("sandbox", "--port", port, code=2)
    assert port in refused.err
    assert "--port 0" in refused.err
    running.signal(signal.SIGINT)
    assert running.wait() == 130


def test_quiet_says_nothing_but_what_was_asked_for(place: Place) -> None:
    place.write(cohere("labels"))
    place("-q", "apply", "-y", "--wait")
    found = place("-q", "status")
    assert found.err == ""
    assert "labels" in found.out


def test_a_reader_that_has_seen_enough_is_no_trouble(place: Place) -> None:
    place.write(*(cartesia(f"job-{number}") for number in range(10)))
    assert place.piped("plan", "head -1").count("\n") == 1


def test_the_database_file_is_what_it_says(place: Place) -> None:
    place.write(cartesia("voice"))
    place("apply", "-y", "--wait")
    with sqlite3.connect(place.folder / ".orchestrator" / "state.db") as connection:
        text = "\n".join(connection.iterdump())
    connection.close()
    assert place.env["CARTESIA_API_KEY"] not in text


@pytest.mark.parametrize("name", ["why", "watch"])
def test_a_job_in_words(place: Place, name: str) -> None:
    place.write(cartesia("voice"))
    place("apply", "-y", "--wait")
    if name == "why":
        assert "succeeded" in place("why", "voice").out
        return
    watching = place.start("watch")
    place.until(lambda: "succeeded" in watching.out + watching.err)
    watching.signal(signal.SIGINT)
    assert watching.wait() == 130


def test_a_reader_that_has_seen_enough_is_no_failure(place: Place) -> None:
    assert place.piped("schema", "true") == ""
