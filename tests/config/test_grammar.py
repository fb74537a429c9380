"""The grammar of a job file: what it gives, and in which words it refuses."""

from datetime import timedelta

import pytest

from orchestrator.config.manifest import AfterDoubt
from orchestrator.core.event import DEFAULT_EVENTS, EventType
from orchestrator.core.job import OnChange, OnRemove, Policy

from .files import JOB, loaded, problems, spec_problems

FULL = """
[orchestrator]
project = "acme"
hooks = ["team"]

[providers.eu]
kind = "voice"
base_url = "https://eu.example.com/v1/"
api_key = { command = ["op", "read", "x"] }
poll_interval = "1s"
max_running = 1
requests_per_second = 0.5
after_doubt = "resend"
doubt_window = "1s"

[providers.voice]

[hooks.team]
kind = "post"
events = ["job.overdue", "provider.resumed"]
superseded = true

[hooks.post]

[jobs.full]
provider = "eu"
hooks = ["post", "post"]
on_change = "cancel_then_replace"
on_remove = "cancel"
overdue_after = "6h"
needs = []
retries = 0
[jobs.full.spec]
dataset = "d"
rate = 1
free = { a = [1, 2.5, "x", { b = true }] }

[jobs.bare]
provider = "voice"
spec = { dataset = "d" }

[jobs.quiet]
provider = "voice"
hooks = []
spec = { dataset = "d", name = "Loud" }
"""


def test_accounts() -> None:
    manifest = loaded(FULL)
    eu = manifest.accounts["eu"]
    assert (eu.kind, eu.base_url, eu.max_running) == ("voice", "https://eu.example.com/v1", 1)
    assert (eu.requests_per_second, eu.after_doubt) == (0.5, AfterDoubt.RESEND)
    assert (eu.doubt_window, manifest.poll_interval("eu")) == (timedelta(seconds=1), timedelta(seconds=1))
    plain = manifest.accounts["voice"]
    assert (plain.kind, plain.base_url, plain.max_running) == ("voice", None, None)
    assert (plain.after_doubt, plain.doubt_window) == (AfterDoubt.PARK, timedelta(minutes=15))
    assert manifest.poll_interval("voice") == timedelta(seconds=30)


def test_hooks() -> None:
    manifest = loaded(FULL)
    assert manifest.hooks["post"].events == DEFAULT_EVENTS
    assert manifest.hooks["team"].events == (EventType.OVERDUE, EventType.RESUMED)
    route = manifest.routes()["team"]
    assert (route.name, route.superseded) == ("team", True)


def test_jobs() -> None:
    jobs = loaded(FULL).jobs
    assert list(jobs) == ["full", "bare", "quiet"]
    assert (jobs["full"].account, jobs["full"].kind) == ("eu", "voice")
    assert jobs["full"].policy == Policy(
        hooks=("post",),
        on_change=OnChange.CANCEL_THEN_REPLACE,
        on_remove=OnRemove.CANCEL,
        overdue_after=timedelta(hours=6),
    )
    assert jobs["bare"].policy == Policy(hooks=("team",))
    assert jobs["quiet"].policy == Policy(hooks=())


def test_a_spec_is_kept_as_it_was_written() -> None:
    jobs = loaded(FULL).jobs
    assert jobs["bare"].spec == {"dataset": "d"}
    assert jobs["quiet"].spec == {"dataset": "d", "name": "Loud"}
    assert jobs["full"].spec == {
        "dataset": "d",
        "rate": 1,
        "free": {"a": [1, 2.5, "x", {"b": True}]},
    }
    assert type(jobs["full"].spec["rate"]) is int


def test_a_kind_needs_no_table_of_its_own() -> None:
    manifest = loaded(JOB)
    assert manifest.accounts["voice"].kind == "voice"
    assert ("providers", "voice") not in manifest.origins
    assert manifest.folder("providers", "voice") == manifest.root


def test_an_empty_file_is_a_manifest() -> None:
    manifest = loaded("")
    assert (manifest.jobs, manifest.accounts, manifest.hooks, manifest.warnings) == ({}, {}, {}, ())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("jobz = {}", '1:1: jobz: unknown key, did you mean "jobs"?'),
        ("jobs = 1", "1:8: jobs: expected a table"),
        ("orchestrator = []", "1:16: orchestrator: expected a table"),
        ("[jobs]\na = 1", "2:5: jobs.a: expected a table, got 1"),
        ("[datasets.x]\nprovider = 'voice'", "1:2: datasets: not supported yet"),
        ("[providers.x]", '1:12: providers.x.kind: missing, because "x" is not a kind (one of voice, store)'),
        (
            "[providers.stor]",
            (
                '1:12: providers.stor.kind: missing, because "stor" is not a kind (one of voice, store), '
                'did you mean "store"?'
            ),
        ),
        (
            "[providers.x]\nkind = 'voic'",
            '2:8: providers.x.kind: expected one of voice, store, got "voic", did you mean "voice"?',
        ),
        ("[providers.x]\nkind = 1", "2:8: providers.x.kind: expected one of voice, store, got 1"),
        (
            "[hooks.post]\nevents = ['job.succeeeded']",
            (
                "2:11: hooks.post.events[0]: expected one of job.submitted, job.queued, job.running, "
                "job.succeeded, job.failed, job.cancelled, job.lost, job.in_doubt, job.overdue, "
                'provider.paused, provider.resumed, got "job.succeeeded", did you mean "job.succeeded"?'
            ),
        ),
        ("[hooks.post]\nevents = 'job.lost'", '2:10: hooks.post.events: expected a list, got "job.lost"'),
        ("[hooks.post]\njob = ['a']", '2:1: hooks.post.job: unknown key, did you mean "jobs"?'),
        ("[hooks.post]\ntemplate = 'a'", "2:1: hooks.post.template: unknown key"),
        (
            "[providers.voice]\nmax_runing = 1",
            '2:1: providers.voice.max_runing: unknown key, did you mean "max_running"?',
        ),
        (
            "[providers.voice]\nmax_running = 0",
            "2:15: providers.voice.max_running: expected at least 1, got 0",
        ),
        (
            "[providers.voice]\nmax_running = true",
            "2:15: providers.voice.max_running: expected a whole number, got true",
        ),
        (
            "[providers.voice]\nrequests_per_second = 0",
            "2:23: providers.voice.requests_per_second: expected at least 0.1, got 0",
        ),
        (
            "[providers.voice]\nrequests_per_second = inf",
            "2:23: providers.voice.requests_per_second: expected a finite number, got inf",
        ),
        (
            "[providers.voice]\nafter_doubt = 'resnd'",
            (
                '2:15: providers.voice.after_doubt: expected one of park, resend, got "resnd", '
                'did you mean "resend"?'
            ),
        ),
        (
            "[providers.voice]\ndoubt_window = '999ms'",
            '2:16: providers.voice.doubt_window: expected at least 1s, got "999ms"',
        ),
        (
            "[providers.voice]\npoll_interval = '1'",
            '2:17: providers.voice.poll_interval: expected a duration such as "90s", "15m" or "2h30m"',
        ),
        (
            "[providers.voice]\nname = 'x'",
            "2:1: providers.voice.name: unknown key",
        ),
        ("[providers.store]\naccount_id = 'a'", "1:12: providers.store.region: missing"),
    ],
)
def test_words(text: str, said: str) -> None:
    assert problems(text) == [f"jobs.toml:{said}"]


@pytest.mark.parametrize(
    "url",
    [
        "ftp://x",
        "x",
        "",
        "https://",
        "https:///v1",
        "https://u@x",
        "https://u:p@x",
        "https://x?a=1",
        "https://x/#",
        "https://x?",
        "https://x:0",
        "https://x:99999",
        "https://[x",
        "https://x y",
        "https://x\\\\@y",
        "//x",
        "https://x\\tq",
        "file:///etc",
        "https://:80",
    ],
)
def test_addresses_that_are_refused(url: str) -> None:
    (said,) = problems(f'[providers.voice]\nbase_url = "{url}"')
    assert said.startswith("jobs.toml:2:12: providers.voice.base_url: ")
    assert "got" not in said


@pytest.mark.parametrize("url", ["http://api.example.com/v1", "http://127.evil.com", "http://10.0.0.8:8790"])
def test_plain_http_leaves_this_machine_only_where_that_is_meant(url: str) -> None:
    (said,) = problems(f'[providers.voice]\nbase_url = "{url}"')
    assert said.startswith("jobs.toml:2:12: providers.voice.base_url: plain http ")
    assert "allow_insecure = true" in said
    text = f'[providers.voice]\nbase_url = "{url}"\nallow_insecure = true'
    assert loaded(text).accounts["voice"].base_url == url


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost:8790",
        "http://127.0.0.1:8790/cartesia",
        "https://x",
        "https://x.y/v1/z",
        "http://[::1]:80",
    ],
)
def test_addresses_that_are_taken(url: str) -> None:
    account = loaded(f'[providers.voice]\nbase_url = "{url}"').accounts["voice"]
    assert account.base_url == url


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("provder = 'voice'", ['provder: unknown key, did you mean "provider"?', "provider: missing"]),
        (
            "provider = 'voce'",
            ['provider: unknown provider "voce"; known providers: store, voice, did you mean "voice"?'],
        ),
        ("provider = 8", ["provider: expected a text in quotes, got 8"]),
        ("provider = 'store'", ["provider: needs a table [providers.store] with account_id, region"]),
        ("provider = 'voice'\nmatrix = { a = [1] }", ["matrix: not supported yet"]),
        ("provider = 'voice'\nneeds = ['b']", ["needs: not supported yet"]),
        ("provider = 'voice'\nneeds = 0", ["needs: not supported yet"]),
        ("provider = 'voice'\nretries = 1", ["retries: not supported yet"]),
        ("provider = 'voice'\nretries = false", ["retries: not supported yet"]),
        ("provider = 'voice'\nretries = []", ["retries: not supported yet"]),
        (
            "provider = 'voice'\nhooks = ['pots']",
            ['hooks[0]: there is no [hooks.pots], did you mean "post"?'],
        ),
        ("provider = 'voice'\nhooks = 'post'", ['hooks: expected a list, got "post"']),
        ("provider = 'voice'\nhooks = [1]", ["hooks[0]: expected a text in quotes, got 1"]),
        (
            "provider = 'voice'\non_change = 'asc'",
            [
                (
                    "on_change: expected one of ask, replace, cancel_then_replace, refuse, "
                    'got "asc", did you mean "ask"?'
                )
            ],
        ),
        (
            "provider = 'voice'\non_remove = 'delete'",
            ['on_remove: expected one of keep, cancel, got "delete"'],
        ),
        ("provider = 'voice'\noverdue_after = '0s'", ['overdue_after: expected at least 1s, got "0s"']),
        ("provider = 'voice'\noverdue_after = '366d'", ["overdue_after: a duration is at most 365d"]),
    ],
)
def test_words_about_a_job(lines: str, said: list[str]) -> None:
    found = problems(
        f"[hooks.post]\n[jobs.a]\n{lines}\n[jobs.a.spec]\n" + "dataset = 'd'" * ("store" not in lines)
    )
    assert sorted(line.partition(": jobs.a.")[2] for line in found) == sorted(said)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (
            "datset = 'd'",
            ["3:9: {}.dataset: missing", '4:1: {}.datset: unknown key, did you mean "dataset"?'],
        ),
        ("dataset = 8", ["4:11: {}.dataset: expected a text in quotes, got 8"]),
        ("dataset = 'd'\nepochs = '8'", ['5:10: {}.epochs: expected a whole number, got "8"']),
        ("dataset = 'd'\nepochs = 8.0", ["5:10: {}.epochs: expected a whole number, got 8.0"]),
        (
            "dataset = 'd'\nepochs = 2020-01-01",
            ["5:10: {}.epochs: a date or time is not allowed here; write it as text in quotes"],
        ),
        ("dataset = 'd'\nrate = nan", ["5:8: {}.rate: expected a finite number, got nan"]),
        ("dataset = 'd'\nrate = '1'", ['5:8: {}.rate: expected a number, got "1"']),
        ("dataset = 'd'\npublic = 1", ["5:10: {}.public: expected true or false, got 1"]),
        ("dataset = 'd'\ndeep = 1", ["5:8: {}.deep: expected a table, got 1"]),
        ("dataset = 'd'\ndeep = []", ["5:8: {}.deep: expected a table, got a list"]),
        ("dataset = 'd'\ndeep = { rnk = 1 }", ['5:10: {}.deep.rnk: unknown key, did you mean "rank"?']),
        ("dataset = 'd'\ndeep.rank = 65", ["5:13: {}.deep.rank: expected at most 64, got 65"]),
        (
            "dataset = 'd'\ndeep.tags = ['a', {}]",
            ["5:19: {}.deep.tags[1]: expected a text in quotes, got a table"],
        ),
        (
            "dataset = 'd'\nepochs = 9223372036854775808",
            ["5:10: {}.epochs: a number that does not fit in 64 bits"],
        ),
        (
            "dataset = 'd'\nepochs = -9223372036854775809",
            ["5:10: {}.epochs: a number that does not fit in 64 bits"],
        ),
        (
            "dataset = 'd'\nfree = { a = [0x1_0000_0000_0000_0000] }",
            ["5:15: {}.free.a[0]: a number that does not fit in 64 bits"],
        ),
        ("dataset = 'd'\nfree = { a = inf }", ["5:14: {}.free.a: expected a finite number, got inf"]),
        (
            "dataset = 'd'\nfree = { a = 07:00:00 }",
            ["5:14: {}.free.a: a date or time is not allowed here; write it as text in quotes"],
        ),
        (
            "dataset = '${datasets.a}'",
            ["4:11: {}.dataset: references, ${datasets.NAME} and the like, are not supported yet"],
        ),
        (
            'dataset = \'"""${jobs.a.b}\'',
            ["4:11: {}.dataset: references, ${datasets.NAME} and the like, are not supported yet"],
        ),
        (
            'dataset = "\\u0024{a}"',
            ["4:11: {}.dataset: references, ${datasets.NAME} and the like, are not supported yet"],
        ),
        ("dataset = 'x ft1-" + "a2" * 10 + "'", ['4:11: {}.dataset: "ft1-a2a2a2a2a2a2a2a2a2a2" is reserved']),
        (
            "dataset = 'd'\nfree.ft1-" + "a2" * 10 + " = 1",
            ['5:6: {}.free.ft1-a2a2a2a2a2a2a2a2a2a2: "ft1-a2a2a2a2a2a2a2a2a2a2" is reserved'],
        ),
    ],
)
def test_words_about_a_spec(spec: str, said: list[str]) -> None:
    assert spec_problems(spec) == [f"jobs.toml:{line.replace('{}.', 'jobs.a.spec.', 1)}" for line in said]


@pytest.mark.parametrize(
    "dataset", ["$5", "{a}", "$ {a}", "ft1-short", "ft1-" + "a" * 21, "xft1-" + "a" * 20, "ft1-" + "A" * 20]
)
def test_what_only_resembles_a_reserved_word(dataset: str) -> None:
    assert loaded(f"[jobs.a]\nprovider='voice'\nspec={{ dataset='{dataset}' }}").jobs


def test_numbers_to_the_edge_of_64_bits() -> None:
    job = loaded("[jobs.a]\nprovider='voice'\nspec={dataset='d', epochs=9223372036854775807}").jobs["a"]
    assert job.spec["epochs"] == 2**63 - 1


@pytest.mark.parametrize("spec", ["", "spec = 1\n", "spec = [[]]\n"])
def test_a_job_without_a_spec(spec: str) -> None:
    (said,) = problems(f"[jobs.a]\nprovider = 'voice'\n{spec}")
    assert said.partition(": jobs.a.spec: ")[2] in {
        "missing",
        "expected a table, got 1",
        "expected a table, got a list",
    }


@pytest.mark.parametrize("name", ["a b", "", "-a", ".a", "é", "a" * 64, "a/b", "a\\u202eb", "../x", "a\\n"])
@pytest.mark.parametrize("section", ["jobs", "providers", "hooks"])
def test_names_that_are_refused(section: str, name: str) -> None:
    (said,) = problems(f'[{section}."{name}"]')
    assert said.isprintable()
    assert "a name has up to 63 letters, digits, . - _" in said


@pytest.mark.parametrize("name", ["a", "9", "A.b_c-d", "a" * 63, "sweep.1"])
def test_names_that_are_taken(name: str) -> None:
    assert list(loaded(f"[jobs.'{name}']\nprovider='voice'\nspec.dataset='d'").jobs) == [name]


def test_all_problems_come_at_once_and_in_order() -> None:
    said = problems(
        "[orchestrator]\nprojet = 'x'\nmax_new_runs = -1\nhooks = ['no']\n"
        "[jobs.b]\nprovider = 'voice'\nspec = { dataset = 1, epochs = 'x', nme = 'x', rate = nan }\n"
        "[jobs.a]\n[providers.x]\n[hooks.y]\n"
    )
    places = [tuple(map(int, line.split(":")[1:3])) for line in said]
    assert places == sorted(places)
    assert [line.split(": ")[1] for line in said] == [
        "orchestrator.projet",
        "orchestrator.max_new_runs",
        "orchestrator.hooks[0]",
        "jobs.b.spec.dataset",
        "jobs.b.spec.epochs",
        "jobs.b.spec.nme",
        "jobs.b.spec.rate",
        "jobs.a.provider",
        "jobs.a.spec",
        "providers.x.kind",
        "hooks.y.kind",
    ]


def test_words_are_safe_to_show() -> None:
    (said,) = spec_problems('dataset = "d"\nepochs = "a\\u001b[31m\\u202e\\u200b' + "x" * 100 + '"')
    assert said.isprintable()
    assert said.endswith('got "a?[31m??' + "x" * 31 + '…"')
