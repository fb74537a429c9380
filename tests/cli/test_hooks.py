"""The commands about hooks, driven as a user types them."""

import json
import re
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest
from drive import Place, cartesia, eventually
from listener import Listener

ALL = ("job.submitted", "job.queued", "job.running", "job.succeeded", "job.failed")


def run_all(place: Place, listener: Listener, *jobs: str) -> None:
    """Let every job go to its end, told to `team`."""
    place.write(listener.table("team", *ALL), *(cartesia(name) for name in jobs), settings='hooks = ["team"]')
    place("apply", "-y")
    place.up()


def ids(place: Place, *args: str) -> list[str]:
    return place("hooks", "log", "-o", "name", *args).out.split()


def states(place: Place, *args: str) -> list[str]:
    return [one["state"] for one in place("hooks", "log", "--json", *args).json["deliveries"]]


def test_what_was_sent_can_be_sent_again_and_explained(place: Place, listener: Listener) -> None:
    run_all(place, listener, "a", "b")
    first = [message.id for message in listener.messages]
    assert first
    assert sorted(ids(place)) == sorted(first)

    one = place("hooks", "redeliver", first[0])
    assert "1 to send again." in one.err
    assert "orchestrator up" in one.err
    place.up()
    assert [message.id for message in listener.messages].count(first[0]) == 2

    assert place("hooks", "redeliver", "--since", "1h", "--json").json["filled"] == 0
    place.up()
    again = [message.id for message in listener.messages[len(first) + 1 :]]
    assert sorted(again) == sorted(first)
    for job in ("a", "b"):
        order = [message.data["sequence"] for message in listener.of(job)][-2:]
        assert order == sorted(order)
    (new,) = place("hooks", "redeliver", first[0], "--new-id", "-o", "name").out.split()
    assert new not in first

    place.write(
        listener.table("team", *ALL) + 'jobs = ["a"]\n',
        listener.table("late", "job.succeeded"),
        cartesia("a", 'hooks = ["team", "late"]'),
        cartesia("b", 'hooks = ["team"]'),
    )
    filled = place("hooks", "redeliver", "--since", "1h", "--hook", "late")
    assert "0 to send again, 1 that were missed." in filled.err
    place.up()
    assert states(place, "--hook", "late") == ["delivered"]

    found = place("hooks", "explain", "b", "--json").json
    outlook = {one["hook"]: (one["hears"], one["reason"]) for one in found["hooks"]}
    assert outlook["team"] == ([], "its jobs (a) do not include b")
    assert outlook["late"] == ([], "the job's hooks (team) do not include it")
    told = {one["type"]: {each["hook"]: each for each in one["hooks"]} for one in found["events"]}
    assert told["job.succeeded"]["team"]["state"] == "delivered"
    assert told["job.succeeded"]["late"]["reason"] == "the job's hooks (team) do not include it"
    text = place("hooks", "explain", "a")
    assert "job.succeeded" in text.out
    assert place("hooks", "explain", "a", "-o", "name").out.split() == ["team", "late"]
    assert "no job nobody" in place("hooks", "explain", "nobody", code=1).err


def test_a_hook_that_left_the_files_is_named_dropped_or_inherited(place: Place, listener: Listener) -> None:
    listener.answers += [500] * 20
    place.write(listener.table("old", "job.succeeded"), cartesia("a", 'hooks = ["old"]'))
    place("apply", "-y")
    daemon = place.start("up")
    eventually(lambda: "pending" in states(place), "a delivery that waits")
    eventually(lambda: listener.messages, "an attempt")
    assert daemon.stop() == 0
    place.write(listener.table("new", "job.succeeded"), cartesia("a", 'hooks = ["new"]'))
    listener.answers.clear()
    place.up()
    status = place("status")
    assert "hook old (gone" in status.err
    assert "orchestrator hooks drop old" in status.err
    (gone,) = [one for one in place("status", "--json").json["hooks"] if one["hook"] == "old"]
    assert (gone["state"], gone["waiting"]) == ("gone", 1)

    assert (
        "1 that waited for old will go to new."
        in place("hooks", "redeliver", "--hook", "old", "--to", "new").err
    )
    place.up()
    assert states(place) == ["delivered"]
    assert "Nothing waits for old" in place("hooks", "drop", "old").err


def test_what_waits_for_a_hook_that_is_gone_can_be_given_up(place: Place, listener: Listener) -> None:
    later = listener.table("later", "job.succeeded") + 'for = "1h"\n'
    place.write(later, cartesia("a", 'hooks = ["later"]'))
    place("apply", "-y")
    daemon = place.start("up")
    eventually(lambda: states(place) == ["pending"], "a delivery that waits")
    place.write(cartesia("a"))
    eventually(lambda: "hook later (gone, 1 waiting)" in place("status").err, "the hook to be named")
    assert daemon.stop() == 0
    place("hooks", "drop", "later", code=3)
    assert "1 dropped." in place("hooks", "drop", "later", "-y").err
    assert states(place) == ["dropped"]
    assert "hook later" not in place("status").err


def test_a_hook_is_said_to_be_off_until_its_table_changes(place: Place, listener: Listener) -> None:
    listener.answers.append(410)
    place.write(listener.table("team", "job.succeeded"), cartesia("a", 'hooks = ["team"]'))
    place("apply", "-y")
    log = place.up()
    assert log.said("hook.off", hook="team") is not None
    assert states(place) == ["dead"]
    for command in (("status",), ("hooks", "log")):
        assert "hook team (off" in place(*command).err
    assert (
        "team  off    the receiver asked for no more deliveries: HTTP 410"
        in place("hooks", "explain", "a").out
    )
    place.write(
        listener.table("team", "job.succeeded") + 'timeout = "14s"\n', cartesia("a", 'hooks = ["team"]')
    )
    place.up()
    assert states(place) == ["delivered"]
    assert len({message.id for message in listener.messages}) == 1
    assert "hook team" not in place("status").err


def test_a_test_shows_the_exact_bytes(place: Place, listener: Listener) -> None:
    script = place.folder / "told.sh"
    script.write_text("#!/bin/sh\ncat >told\n")
    script.chmod(0o700)
    place.write(listener.table("team"), '[hooks.told]\nkind = "command"\ncommand = ["./told.sh", "x y"]\n')
    shown = place("hooks", "test", "team", "--event", "job.failed", "--dry-run").out
    head, _, body = shown.partition("\n\n")
    assert head.splitlines()[0] == f"POST {listener.url}"
    assert "webhook-signature: v1," in head
    assert json.loads(body)["type"] == "job.failed"
    assert listener.messages == []
    blind = place("hooks", "test", "team", "--dry-run", env={"TEAM_HOOK_SECRET": ""})
    assert "webhook-signature: v1,<no secret: the environment variable" in blind.out
    preview = place("hooks", "test", "told", "--dry-run", "--json").json
    assert preview["head"][0].endswith("told.sh 'x y'")
    assert not (place.folder / "told").exists()
    place("hooks", "test", "told")
    assert json.loads((place.folder / "told").read_text())["data"]["test"] is True
    short = place("hooks", "test", "team", code=1, env={"TEAM_HOOK_SECRET": "whsec_c2hvcnQ="})
    assert "24 to 64 bytes" in short.err
    assert "hint: make one: orchestrator hooks secret" in short.err


def test_a_log_says_when_the_next_try_is_and_can_be_cut_short(place: Place, listener: Listener) -> None:
    listener.answers += [500] * 99
    place.write(listener.table("team", *ALL), cartesia("a", 'hooks = ["team"]'))
    place("apply", "-y")
    daemon = place.start("up")
    eventually(lambda: " due in " in place("hooks", "log").out, "a delivery that failed")
    assert daemon.stop() == 0
    assert " due now " in place("hooks", "log").out
    assert len(place.piped("hooks log -o name", "head -1").splitlines()) == 1
    assert re.search(r"^managed +yes$", place("show", "a").out, re.MULTILINE)


def test_a_hook_that_waits_says_so(place: Place, listener: Listener) -> None:
    place.write(
        listener.table("team", "job.succeeded") + 'for = "10m"\n',
        listener.table("accounts", "provider.paused"),
        cartesia("a", 'hooks = ["team", "accounts"]'),
    )
    shown = place("hooks", "explain", "a").out
    assert "team      yes    job.succeeded, if it lasts 10m" in shown
    assert "accounts  no     its events include none that jobs send" in shown


def test_a_name_that_is_no_hook_is_refused(place: Place, listener: Listener) -> None:
    place.write(listener.table("team"))
    refused = place("hooks", "redeliver", "--hook", "taem", code=1)
    assert "no job file declares a hook taem, and none was ever notified" in refused.err
    assert "0 to send again." in place("hooks", "redeliver", "--hook", "team").err


@pytest.mark.parametrize(
    ("command", "option"),
    [(("hooks", "test"), "--event EVENT "), (("hooks", "log"), "--limit "), (("sandbox",), "--clock ")],
)
def test_every_option_says_what_it_is_for(place: Place, command: tuple[str, ...], option: str) -> None:
    (line,) = [line for line in place(*command, "--help").out.splitlines() if option in line]
    assert len(line) <= 80
    assert "  " in line.strip()


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ('kind = "command"\ncommand = ["./none.sh"]', "7:11: hooks.x.command: no program"),
        ('kind = "webhook"\nurl = "https://[::1"\nsecret = { env = "S" }', "7:7: hooks.x.url: not a URL"),
        (
            'kind = "notify"\nurl = { env = "S" }\ntemplate = """\n{{ nope }}"""',
            '8:12: hooks.x.template: unknown field "nope"',
        ),
        ('kind = "notify"\nurl = "slack://a/b/c"', "7:7: hooks.x.url: a secret is written as a reference"),
        ('kind = "command"\ncommand = ["true"]\nfor = "8d"', "8:7: hooks.x.for: expected at most 7d"),
    ],
)
def test_a_table_that_cannot_work_is_refused_with_its_place(place: Place, lines: str, said: str) -> None:
    (place.folder / "jobs.toml").write_text(f'[orchestrator]\nproject = "p"\n\n\n[hooks.x]\n{lines}\n')
    refused = place("validate", code=2)
    assert f"jobs.toml:{said}" in refused.err


@pytest.mark.parametrize(
    "args", [(), ("msg_1", "--dead"), ("--dead", "--to", "x"), ("msg_1", "--hook", "x"), ("--to", "x")]
)
def test_what_is_sent_again_must_be_said(place: Place, args: tuple[str, ...]) -> None:
    place.write()
    place("hooks", "redeliver", *args, code=2)


def test_a_heartbeat_is_heard_while_all_is_well(place: Place) -> None:
    class Checker(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            heard.append(self.path)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *args: object) -> None:
            """Say nothing."""

    heard: list[str] = []
    with HTTPServer(("127.0.0.1", 0), Checker) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        place.write(settings=f'heartbeat = "http://127.0.0.1:{server.server_port}/pulse"')
        daemon = place.start("up")
        eventually(lambda: heard, "a heartbeat")
        assert daemon.stop() == 0
        server.shutdown()
        thread.join()
    assert set(heard) == {"/pulse"}
    assert place("config", "show", "--json").json["settings"]["heartbeat"] == "http://127.0.0.1/***"
