"""Errors have one form: the place, the line with a caret, and what to type next; the same as JSON."""

import json

from drive import Place, cartesia
from terminal import on_terminals

from orchestrator.cli.explain import ENTRIES
from orchestrator.errors import Code

BROKEN = """[orchestrator]
poll_intervall = "1s"
[providers.cartesia]
api_key = "sk-live-0123456789abcdef"
listen = ""
[jobs.voice]
provider = "cartesia"
language = "en"
retrys = 2
[jobs.voice.spec]
on_change = "ask"
dataset = 5
"""
TWICE = '[jobs.voice]\nprovider = "cartesia"\n[jobs.other]\n[jobs.voice]\n'
FIELDS = ["code", "file", "line", "column", "path", "message", "hint"]


def test_a_problem_shows_its_line_and_says_where_a_key_belongs(place: Place) -> None:
    (place.folder / "jobs.toml").write_text(BROKEN)
    text, as_json = place.together(("validate",), ("validate", "-o", "json"), code=2)
    lines = text.err.splitlines()
    at = lines.index('jobs.toml:2:1: orchestrator.poll_intervall: unknown key, did you mean "poll_interval"?')
    assert lines[at + 1 : at + 3] == ['    2 | poll_intervall = "1s"', "      | ^^^^^^^^^^^^^^"]
    for said in (
        "jobs.toml:5:1: providers.cartesia.listen: unknown key here, it belongs in [orchestrator]",
        "jobs.toml:8:1: jobs.voice.language: unknown key here, it belongs in [jobs.voice.spec]",
        'jobs.toml:9:1: jobs.voice.retrys: unknown key, did you mean "retries"?',
        "jobs.toml:11:1: jobs.voice.spec.on_change: unknown key here, it belongs in [jobs.voice]",
    ):
        assert said in lines
    at = lines.index("jobs.toml:12:11: jobs.voice.spec.dataset: expected a text in quotes, got 5")
    assert lines[at + 1 : at + 3] == ["   12 | dataset = 5", "      |           ^"]
    assert "sk-live" not in text.err + as_json.out  # neither in a message nor in the line that is shown
    assert "\x1b" not in text.err
    assert text.out == as_json.err == ""
    found = as_json.json
    assert (list(found), found["schema_version"]) == (["schema_version", "problems"], 1)
    assert [list(one) for one in found["problems"]] == [FIELDS] * len(found["problems"])
    assert {one["code"]: one["line"] for one in found["problems"]} == {
        "unknown-key": 9,
        "literal-secret": 4,
        "misplaced-key": 11,
        "missing-key": 10,
        "invalid-value": 12,
    }


def test_what_is_defined_twice_names_its_first_place_in_our_words(place: Place) -> None:
    (place.folder / "jobs.toml").write_text(TWICE)
    found = place("validate", code=2).err.splitlines()
    assert found[:3] == [
        "jobs.toml:4:7: jobs.voice: already defined at jobs.toml:1",
        "    4 | [jobs.voice]",
        "      |       ^^^^^",
    ]


def test_a_wrong_command_line_has_the_form_of_every_error(place: Place) -> None:
    place.write(cartesia("voice"))
    for args, said, hint in (
        (("statsu",), 'error: no such command "statsu", did you mean "status"?', "orchestrator --help"),
        (("cancel",), "error: missing argument 'JOB'", "orchestrator cancel --help"),
        (("plan", "--ou", "x"), 'no such option --ou, did you mean "--out"?', "orchestrator plan --help"),
        (("wait", "x", "--for", "succeded"), 'did you mean "succeeded"?', "orchestrator wait --help"),
        (
            ("audit", "--cancel", "a", "--delete", "b"),
            "error: use either --cancel ID or --delete ID",
            "orchestrator audit --help",
        ),
    ):
        found = place(*args, code=2)
        assert found.err.startswith("error: ")
        assert said in found.err
        assert found.err.endswith(f"  hint: {hint}\n")
        assert "Usage" not in found.err
        (problem,) = place(*args, "--json", code=2).json["problems"]
        assert (problem["code"], problem["line"], problem["hint"]) == ("usage", None, hint)
    (problem,) = place("show", "nobody", "-o", "json", code=1).json["problems"]
    assert problem["code"] == "unknown-name"
    (line,) = place("-o", "jsonl", "-f", "gone.toml", "plan", code=2).lines
    assert line["problems"][0]["code"] == "settings"


def test_colour_is_for_a_terminal_that_wants_it(place: Place) -> None:
    (place.folder / "jobs.toml").write_text(TWICE)
    place.env["TERM"] = "xterm"
    with on_terminals(place, ("validate",), ("validate", "--color", "never")) as (coloured, plain):
        assert (coloured.wait(), plain.wait()) == (2, 2)
        assert "\x1b[1mjobs.toml:4:7\x1b[0m: " in coloured.raw
        assert "\x1b" not in plain.raw
    for name, value in (("NO_COLOR", "1"), ("TERM", "dumb")):
        place.env[name] = value
        with on_terminals(place, ("validate",)) as (plain,):
            assert plain.wait() == 2
            assert "\x1b" not in plain.raw
        del place.env[name]
    assert "\x1b[" in place("validate", "--color", "always", code=2).err


def test_a_name_that_is_not_there_brings_up_the_nearest(place: Place) -> None:
    hook = '[hooks.log]\nkind = "command"\ncommand = ["true"]\n'
    path = place.write(cartesia("narrator-en"), hook)
    place("apply", "-y")
    path.write_text(path.read_text() + cartesia("later"))
    job, account, hook = 'did you mean "narrator-en"?', 'did you mean "cartesia"?', 'did you mean "log"?'
    words = ("cancel", "show", "status", "why", "retry", "wait", "events")
    calls: dict[tuple[str, ...], str] = {(word, "narator-en"): job for word in words}
    calls |= {
        ("import", "narator-en", "x"): job,
        ("resolve", "narator-en", "--abandon"): job,
        ("hooks", "explain", "narator-en"): job,
        ("audit", "cartezia"): account,
        ("hooks", "test", "lgo"): hook,
        ("hooks", "log", "--hook", "lgo"): hook,
        ("hooks", "redeliver", "--hook", "lgo"): hook,
        ("cancel", "later"): "later is declared, but not recorded yet\n  hint: orchestrator apply",
    }
    for found, meant in zip(place.together(*calls, code=1), calls.values(), strict=True):
        assert "error: " in found.err, found
        assert meant in found.err, found
    assert hook in place("hooks", "drop", "lgo").err


def test_every_code_is_explained(place: Place) -> None:
    assert list(ENTRIES) == list(Code)
    said = place("explain", "misplaced-key").out
    assert said.startswith("misplaced-key\n")
    assert "[jobs.NAME.spec]" in said
    assert 'did you mean "misplaced-key"?' in place("explain", "misplacedkey", code=1).err
    assert json.loads(place("explain", "duplicate", "--json").out)["errors"][0]["cure"]
    assert len(place("explain").out.splitlines()) == 1 + len(Code)
