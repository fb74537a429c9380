"""What a terminal shows: nothing wider than it is, nothing that a provider's text could do to it."""

import re
import signal
import sqlite3
import unicodedata
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

from drive import Place, cartesia, oxen
from listener import Listener
from terminal import CTRL_C, on_terminals

STYLE = re.compile(r"\x1b\[[0-9;]*m")
LONG = "a-voice-with-a-name-as-long-as-a-name-may-ever-be-0123456789-en"
HOSTILE = "[red]爆発しました[/red] \x1b[31m\x07\r" + "失敗" * 30
TABLES = (
    ("status",),
    ("events",),
    ("providers",),
    ("doctor",),
    ("audit",),
    ("hooks", "log"),
    ("hooks", "explain", LONG),
    ("why", LONG),
    ("show", LONG),
    ("config", "show"),
    ("plan",),
)


def cells(text: str) -> int:
    return sum(1 + (unicodedata.east_asian_width(letter) in "WF") for letter in text)


def lines(text: str) -> Iterator[str]:
    """Yield what stands in each line, and check that nothing but colours is sent beside it."""
    for line in text.splitlines():
        bare = STYLE.sub("", line)
        assert not any(unicodedata.category(letter).startswith("C") for letter in bare), line
        yield bare


def trouble(place: Place, listener: Listener) -> None:
    """Have a job of every sort, and a provider whose words are none."""
    place.write(
        cartesia(LONG, 'hooks = ["team"]', dataset="stuck-me"),
        cartesia("done", 'hooks = ["team"]'),
        oxen("broken", resource="main/fail-me"),
        accounts=place.accounts() + listener.table("team"),
    )
    daemon = place.start("up")
    for job, status in ((LONG, "running"), ("done", "succeeded"), ("broken", "failed")):
        daemon.until("run.advanced", job=job, status=status)
    place.fault("odd_status", provider="cartesia", word=HOSTILE, times=None)
    place.until(lambda: "爆発" in (place.job(LONG)["provider_status"] or ""), "the word")
    assert daemon.stop() == 0
    place.seed("cartesia", description="By hand", dataset="ds-1", language="en")


def test_a_terminal_is_never_too_narrow_and_a_pipe_gets_everything(place: Place, listener: Listener) -> None:
    trouble(place, listener)
    for columns, commands in ((80, TABLES[:2]), (60, TABLES)):
        for command in commands:
            for line in lines(place.shown(*command, columns=columns)):
                assert cells(line) <= columns, (command, line)
        at_columns(place, columns)
    in_plain(place)


def at_columns(place: Place, columns: int) -> None:
    status = STYLE.sub("", place.shown("status", columns=columns))
    assert re.search(r"^a-voi\S*…\S+-en +▸ running +\d+s of \d+s +cartesia", status, re.MULTILINE)
    assert "[red]爆発" in status
    assert place.job("done")["result"]["model"] in status.replace("\n", "").replace(" ", "")
    assert re.search("^done +✓ succeeded ", status, re.MULTILINE)
    assert re.search("^broken +✗ failed ", status, re.MULTILINE)
    assert not re.search(r"ft_|REMOTE ID|CONFIRMED", status)


def in_plain(place: Place) -> None:
    piped = place("status").out
    assert re.search(rf"^{LONG}  running +\d+s", piped, re.MULTILINE)
    assert piped.startswith("JOB ")
    assert len(piped.splitlines()) == 4
    wide = place("status", "-o", "wide").out
    remote_id = place.job("done")["remote_id"]
    assert re.search(rf"^done +cartesia  succeeded  -  +{remote_id} ", wide, re.MULTILINE)
    assert any(line.startswith(LONG) for line in lines(place.shown("-o", "wide", "status", columns=60)))
    (first, *_) = place.events()
    assert place("events", "-o", "wide").out.splitlines()[1].startswith(f"{first['id']} ")
    for one in ("✓", "▸", "✗", "\x1b", "…"):
        assert one not in piped + wide + place("doctor").out


def test_where_the_encoding_has_no_signs_there_are_letters(place: Place) -> None:
    place.write(cartesia(LONG))
    place("apply", "-y", "--wait")
    place.warm = None
    shown = place.shown("status", columns=60, env={"PYTHONIOENCODING": "ascii"})
    assert re.search(r"a-voi\S*\.\.\.\S+-en +\+ succeeded", STYLE.sub("", shown))


def test_waiting_and_watching_draw_one_table_and_sum_up_on_ctrl_c(place: Place) -> None:
    place.write(oxen("done"), oxen("broken", resource="main/fail-me"))
    place.up(code=5)
    place.write(oxen("done"), oxen("broken", resource="main/fail-me"), oxen("busy", resource="stuck-me"))
    with on_terminals(place, ("apply", "-y", "--wait"), ("watch",)) as terminals:
        for terminal in terminals:
            terminal.until("oxen says running")
            terminal.type(CTRL_C)
        codes = [terminal.wait() for terminal in terminals]
        applied, watched = (terminal.text for terminal in terminals)
    assert codes == [130, 130]
    assert re.search(r"^busy +▸ running +\d+s of \d+s +oxen says running *$", applied, re.MULTILINE)
    assert watched.count("MODEL OR REASON") > 1  # it was drawn again
    for text, counted, again in (
        (applied, "1 running.", "orchestrator apply --wait"),
        (watched, "1 running, 1 succeeded, 1 failed.", "orchestrator watch"),
    ):
        table, _, last = text.rpartition("MODEL OR REASON")
        assert counted in last
        assert again in last
        assert "busy " in last
        assert not table.endswith("\x1b[?25l")
    assert "orchestrator why broken" in watched
    assert place.job("done")["result"]["model"] in watched.rpartition("MODEL OR REASON")[2]


def test_without_a_terminal_there_is_a_line_for_each_change_and_the_same_sum(place: Place) -> None:
    place.write(oxen("done"), oxen("busy", resource="stuck-me"))
    waiting = place.start("apply", "-y", "--wait")
    place.until(lambda: "busy: running" in waiting.err and "done: succeeded" in waiting.err)
    waiting.signal(signal.SIGINT)
    assert waiting.wait() == 130
    assert waiting.err.count("done: succeeded") == 1
    assert "MODEL" not in waiting.err + waiting.out
    assert "\n1 running, 1 succeeded.\n" in waiting.err
    assert waiting.err.endswith("orchestrator apply --wait\n")


def test_the_log_of_a_daemon_is_short_lines_on_a_terminal_and_json_elsewhere(place: Place) -> None:
    place.env |= {"TZ": "XXX-5:45", "TERM": "xterm"}
    place.write(cartesia("voice"), oxen("broken", resource="main/fail-me"))
    place.warm = None  # a zone is read as Python starts
    shown = place.shown("up", "-y", "--until-settled")
    text = "\n".join(lines(shown))
    assert "\x1b[" in shown
    assert re.fullmatch(r"(\d\d:\d\d:\d\d  [a-z]+  .*\n?(  \S.*\n?)?)+", text), text
    found = dict(re.findall(r"^(\d\d:\d\d):\d\d  voice  (succeeded)", text, re.MULTILINE))
    ended = datetime.fromisoformat(place.job("voice")["finished_at"]) + timedelta(hours=5, minutes=45)
    assert f"{ended:%H:%M}" in found
    assert re.search(r"^\S+  broken  failed", text, re.MULTILINE)
    assert re.search(r"^\S+  daemon  started", text, re.MULTILINE)
    assert not re.search("None|alembic|DDL|run_|orchestrator\\.|timestamp", text)
    place.write(cartesia("voice"))
    (place.folder / ".orchestrator" / "state.db").rename(place.folder / "old.db")
    log = place.up()
    assert len(log.log) == len(log.err.splitlines())  # JSON all of it
    assert {row["logger"].partition(".")[0] for row in log.log} == {"orchestrator"}


def test_no_secret_of_the_process_is_drawn(place: Place) -> None:
    place.write(oxen("busy", resource="stuck-me"))
    place("apply", "-y")
    with sqlite3.connect(place.folder / ".orchestrator" / "state.db") as connection:
        connection.execute("update runs set message = ?", (f"Bearer {place.env['OXEN_API_KEY']}, they say",))
    connection.close()
    shown = place.shown("apply", "-y", "--wait", "--timeout", "1s")
    last = shown.rpartition("MODEL OR REASON")[2]  # the first is drawn before any secret is known
    assert "they say" in last
    assert "0123456789" not in last


def wrapped(shown: str, sentence: str) -> bool:
    """Say whether a screen of 80 columns shows a sentence, with its lines broken between words alone."""
    bare = STYLE.sub("", shown)
    assert all(cells(line) <= 80 for line in bare.splitlines()), bare
    return sentence in re.sub(r"\s*\n\s*", " ", bare)


def test_errors_and_log_lines_are_wrapped_between_words(place: Place) -> None:
    place("init", "--force")
    starter = (place.folder / "jobs.toml").read_text()
    assert max(map(len, starter.splitlines())) < 80
    assert wrapped(place.shown("plan"), 'only the sandbox has "sandbox-dataset", put your own value there')
    assert wrapped(place.shown("-o", "jsn", "plan"), "'table', 'wide', 'json'")
    for dataset in ("ds-1", "ds-2"):
        place.write(cartesia("narrator-with-a-name-that-is-long", dataset=dataset))
        shown = place.shown("up", "-y", "--until-settled")
    assert wrapped(shown, "held: its spec changed; review it with `orchestrator apply`")
    with on_terminals(place, ("events", "--follow")) as (followed,):
        followed.until("succeeded")
        followed.type(CTRL_C)
        assert followed.wait() == 130
        assert wrapped(followed.text, "job.succeeded  narrator-with-a-name-that-is-long")


def test_a_refused_credential_is_told_below_the_table(place: Place) -> None:
    place.write(cartesia("voice"))
    place.env["CARTESIA_API_KEY"] = ""
    with on_terminals(place, ("apply", "-y", "--wait")) as (terminal,):
        assert terminal.wait() == 4
        last = terminal.text.rpartition("MODEL OR REASON")[2]
    assert wrapped(
        last, "once the key is there, the next `orchestrator up` or `orchestrator apply` sends it."
    )


def test_under_the_sandbox_the_commands_to_type_are_its_own(place: Place) -> None:
    place.write(
        oxen("broken", resource="main/fail-me"), accounts='[providers.oxen]\nnamespace = "a"\nrepo = "b"\n'
    )
    place.env["ORCHESTRATOR_SANDBOX_STAGE_SECONDS"] = "0"
    applied = place("--sandbox", "apply", "-y", "--wait", code=5)
    assert "orchestrator --sandbox why broken\n" in applied.err
    assert ": orchestrator --sandbox up\n" in place("--sandbox", "status").err
    assert "`orchestrator --sandbox retry broken` buys another attempt" in place("--sandbox", "plan").out
    assert "orchestrator --sandbox status lists" in place("--sandbox", "show", "brken", code=1).err
    assert ": orchestrator up\n" in place("status").err


def test_ctrl_c_while_the_sandbox_starts_is_quiet(place: Place) -> None:
    place.write(oxen("voice"))
    with on_terminals(place, ("--sandbox", "up", "-y")) as (terminal,):
        place.until(lambda: children(terminal.process.pid), "the sandbox's process")
        terminal.type(CTRL_C)
        assert terminal.wait() == 0
        assert terminal.text == "^C"


def children(pid: int) -> list[str]:
    """List the processes that this one has started."""
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split() or [
        one for task in Path(f"/proc/{pid}/task").iterdir() for one in (task / "children").read_text().split()
    ]
