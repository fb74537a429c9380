"""`[orchestrator]`: its defaults, its bounds, and the environment over it."""

from datetime import timedelta
from pathlib import Path

import pytest

from orchestrator.config.manifest import Settings
from orchestrator.config.settings import load_settings, project_of
from orchestrator.errors import SettingsError

from .files import loaded, problems, write


def settings(text: str = "", **env: str) -> Settings:
    return load_settings([write("jobs.toml", f"[orchestrator]\n{text}")], env)[0]


def test_defaults(tmp_path: Path) -> None:
    found = settings()
    assert found.project == project_of(tmp_path)
    assert found.database == f"sqlite:///{tmp_path}/.orchestrator/state.db"
    assert found.database_path == tmp_path / ".orchestrator" / "state.db"
    assert (found.poll_interval, found.listen) == (timedelta(seconds=30), "127.0.0.1:8787")
    assert (found.hooks, found.max_new_runs) == ((), 20)


@pytest.mark.parametrize(
    ("folder", "project"),
    [
        ("acme-voices", "acme-voices"),
        ("My Voices!", "My-Voices"),
        (".hidden", "hidden"),
        ("日本", "jobs"),
        ("", "jobs"),
        ("a" * 80, "a" * 63),
        ("_x", "x"),
        ("a_b.c", "a_b.c"),
    ],
)
def test_the_project_is_the_folder(folder: str, project: str) -> None:
    assert project_of(Path("/x") / folder if folder else Path("/")) == project


@pytest.mark.parametrize(
    ("url", "made"),
    [
        ("sqlite:///a.db", "sqlite:///{}/a.db"),
        ("sqlite:///d/a.db", "sqlite:///{}/d/a.db"),
        ("sqlite:////var/a.db", "sqlite:////var/a.db"),
        ("postgresql://me@host/name", "postgresql://me@host/name"),
        ("postgresql:///name?host=/run/pg", "postgresql:///name?host=/run/pg"),
    ],
)
def test_addresses_of_databases(tmp_path: Path, url: str, made: str) -> None:
    assert settings(f"database = '{url}'").database == made.format(tmp_path)
    assert settings(ORCHESTRATOR_DATABASE=url).database == made.format(tmp_path)
    assert (settings(f"database = '{url}'").database_path is None) == url.startswith("postgresql")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "a.db",
        "sqlite://",
        "sqlite:///",
        "sqlite:///:memory:",
        "sqlite:///d/",
        "sqlite:///a.db?mode=ro",
        "mysql://x/y",
        "postgresql://",
        "postgres://h/n",
        "sqlite+aiosqlite:///a.db",
        "postgresql://[x/n",
    ],
)
def test_addresses_of_databases_that_are_refused(url: str) -> None:
    (said,) = problems(f"[orchestrator]\ndatabase = '{url}'")
    assert said.endswith("orchestrator.database: expected sqlite:///PATH or postgresql://user@host/name")
    with pytest.raises(SettingsError, match=r"^ORCHESTRATOR_DATABASE: expected sqlite:///PATH"):
        settings(ORCHESTRATOR_DATABASE=url)


@pytest.mark.parametrize(
    "url",
    ["postgresql://u:canary@h/n", "postgresql://u:@h/n", "postgresql://h/n?password=canary"],
)
def test_a_password_may_stand_in_the_environment_alone(url: str) -> None:
    assert problems(f"[orchestrator]\ndatabase = '{url}'") == [
        (
            "jobs.toml:2:12: orchestrator.database: an address in a job file must not contain a password, "
            "set ORCHESTRATOR_DATABASE instead"
        )
    ]
    found = settings(ORCHESTRATOR_DATABASE=url)
    assert found.database == url
    assert "canary" not in repr(found)


@pytest.mark.parametrize(
    "listen", ["", "127.0.0.1:8787", "0.0.0.0:80", "[::1]:1", "localhost:0", "a.b:65535"]
)
def test_where_to_listen(listen: str) -> None:
    assert settings(f"listen = '{listen}'").listen == listen
    assert settings("listen = 'x:1'", ORCHESTRATOR_LISTEN=listen).listen == listen


@pytest.mark.parametrize(
    "listen", ["8787", ":8787", "x", "x:", "x:y", "x:65536", "::1:80", "a b:1", "x:٣", "[]:"]
)
def test_where_not_to_listen(listen: str) -> None:
    (said,) = problems(f"[orchestrator]\nlisten = '{listen}'")
    assert 'orchestrator.listen: expected host:port such as "127.0.0.1:8787", or "" for none' in said


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("poll_interval = '999ms'", 'poll_interval: expected at least 1s, got "999ms"'),
        ("poll_interval = 30", 'poll_interval: expected a duration such as "90s", "15m" or "2h30m"'),
        ("max_new_runs = -1", "max_new_runs: expected at least 0, got -1"),
        ("max_new_runs = 1.5", "max_new_runs: expected a whole number, got 1.5"),
        ("project = 'a b'", 'project: expected a name of letters, digits, . _ - (63 at most), got "a b"'),
        ("hooks = 'team'", 'hooks: expected a list, got "team"'),
        ("hooks = ['none']", "hooks[0]: there is no [hooks.none]"),
        ("databse = 'x'", 'databse: unknown key, did you mean "database"?'),
    ],
)
def test_words(line: str, said: str) -> None:
    (found,) = problems(f"[orchestrator]\n{line}")
    assert found.partition(": orchestrator.")[2] == said


def test_the_environment_comes_first() -> None:
    manifest = loaded(
        "[orchestrator]\nproject = 'a'\npoll_interval = '1m'\nmax_new_runs = 1\nhooks = ['no']\n"
        "[hooks.post]\n[hooks.other]\nkind = 'post'\n[jobs.a]\nprovider = 'voice'\nspec.dataset = 'd'",
        env={
            "ORCHESTRATOR_PROJECT": "b",
            "ORCHESTRATOR_POLL_INTERVAL": "2s",
            "ORCHESTRATOR_MAX_NEW_RUNS": "0",
            "ORCHESTRATOR_HOOKS": "post, other",
            "ORCHESTRATOR_TOKEN": "x",
            "ORCHESTRATOR_NONSENSE": "x",
        },
    )
    found = manifest.settings
    assert (found.project, found.poll_interval, found.max_new_runs) == ("b", timedelta(seconds=2), 0)
    assert found.hooks == manifest.jobs["a"].policy.hooks == ("post", "other")


def test_an_empty_variable_is_a_value() -> None:
    found = loaded("[orchestrator]\nhooks = ['post']\n[hooks.post]", env={"ORCHESTRATOR_HOOKS": ""})
    assert found.settings.hooks == ()


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("POLL_INTERVAL", "30", "expected a duration such as"),
        ("POLL_INTERVAL", "1ms", 'expected at least 1s, got "1ms"'),
        ("MAX_NEW_RUNS", "many", 'expected a whole number, got "many"'),
        ("MAX_NEW_RUNS", "-1", "expected a whole number"),
        ("MAX_NEW_RUNS", "9" * 5000, "expected a whole number"),
        ("PROJECT", "", "expected a name"),
        ("PROJECT", "a b", 'got "a b"'),
        ("LISTEN", "x", "expected host:port"),
        ("HOOKS", "a b", "expected a name"),
    ],
)
def test_a_bad_variable_is_named(name: str, value: str, said: str) -> None:
    with pytest.raises(SettingsError) as caught:
        settings(**{f"ORCHESTRATOR_{name}": value})
    assert caught.value.message.startswith(f"ORCHESTRATOR_{name}: ")
    assert said in caught.value.message


def test_a_hook_that_is_not_there_is_the_variables_fault() -> None:
    with pytest.raises(SettingsError, match=r"^ORCHESTRATOR_HOOKS: there is no \[hooks.none\]$"):
        loaded("", env={"ORCHESTRATOR_HOOKS": "none"})
