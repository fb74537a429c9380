"""Which files make a manifest, and what several of them are together."""

import os
from pathlib import Path

import pytest

from orchestrator.config.find import find
from orchestrator.config.load import load
from orchestrator.config.settings import load_settings
from orchestrator.errors import ManifestError, SettingsError

from .files import JOB, KINDS, problems, write


def test_named_files_come_before_all(tmp_path: Path) -> None:
    a, b = write("a.toml", ""), write("b.toml", "")
    write("jobs.toml", "")
    env = {"ORCHESTRATOR_FILE": "b.toml"}
    assert find(["a.toml", str(b)], tmp_path, env) == (a, b)
    assert find(["a.toml", "./a.toml", "x/../a.toml"], tmp_path, env) == (a,)


def test_then_the_variable(tmp_path: Path) -> None:
    a, b = write("a.toml", ""), write("d/b.toml", "")
    write("jobs.toml", "")
    assert find([], tmp_path, {"ORCHESTRATOR_FILE": f"a.toml{os.pathsep}d"}) == (a, b)
    assert find([], tmp_path, {"ORCHESTRATOR_FILE": ""}) == (tmp_path / "jobs.toml",)


def test_then_upward_to_the_repository(tmp_path: Path) -> None:
    top = write("jobs.toml", "")
    deep = tmp_path / "repo" / "a" / "b"
    deep.mkdir(parents=True)
    with pytest.raises(SettingsError):  # outside a repository a file further up may be anybody's
        find([], deep, {})
    (tmp_path / ".git").mkdir()
    assert find([], deep, {}) == (top,)
    (tmp_path / "repo" / "a" / ".git").mkdir()
    with pytest.raises(SettingsError) as caught:
        find([], deep, {})
    assert "orchestrator init" in (caught.value.hint or "")
    inner = write("repo/a/jobs.toml", "")
    assert find([], deep, {}) == (inner,)


def test_a_folder_is_its_toml_files(tmp_path: Path) -> None:
    b, a = write("d/b.toml", ""), write("d/a.toml", "")
    for other in ("d/.hidden.toml", "d/c.toml~", "d/readme.md", "d/sub.toml/x.toml"):
        write(other, "")
    assert find(["d"], tmp_path, {}) == (a, b)


@pytest.mark.parametrize("name", ["none.toml", "empty"])
def test_what_is_not_there(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(SettingsError, match="no such file" if name == "none.toml" else "no .toml file"):
        find([name], tmp_path, {})


def test_too_many_files(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    for index in range(1001):
        (tmp_path / "d" / f"{index}.toml").touch()
    with pytest.raises(SettingsError, match="more than 1000"):
        find(["d"], tmp_path, {})


def test_several_files_are_one_manifest(tmp_path: Path) -> None:
    files = [
        write("one/jobs.toml", "[orchestrator]\nhooks = ['post']\n" + JOB),
        write(
            "two/more.toml",
            "[hooks.post]\n[orchestrator]\nproject = 'x'\n[jobs.b]\nprovider = 'eu'\nspec.dataset = 'd'",
        ),
        write("accounts.toml", "[providers.eu]\nkind = 'voice'"),
    ]
    manifest = load(files, KINDS, {})
    assert list(manifest.jobs) == ["a", "b"]
    assert (manifest.settings.project, manifest.settings.hooks) == ("x", ("post",))
    assert manifest.jobs["a"].policy.hooks == ("post",)
    assert manifest.files == tuple(files)
    assert manifest.root == tmp_path / "one"
    assert manifest.folder("jobs", "b") == tmp_path / "two"
    assert manifest.folder("hooks", "post") == tmp_path / "two"
    assert manifest.folder("providers", "eu") == tmp_path
    assert manifest.folder("providers", "voice") == tmp_path / "one"


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        (JOB, JOB, "jobs1.toml:2:7: jobs.a: already defined at jobs.toml:2"),
        ("\n\n[hooks.post]", "[hooks.post]", "jobs1.toml:1:8: hooks.post: already defined at jobs.toml:3"),
        (
            "[providers]\nvoice = {}",
            "[providers.voice]",
            "jobs1.toml:1:12: providers.voice: already defined at jobs.toml:2",
        ),
        (
            "[orchestrator]\nproject = 'a'",
            "[orchestrator]\nlisten = ''\nproject = 'a'",
            "jobs1.toml:3:1: orchestrator.project: already set at jobs.toml:2",
        ),
        (
            JOB,
            JOB.replace("jobs.a", "jobs.A"),
            'jobs1.toml:2:7: jobs.A: differs only in case from "a", defined at jobs.toml:2',
        ),
    ],
)
def test_a_name_that_is_defined_twice(first: str, second: str, said: str) -> None:
    assert problems(first, second) == [said]


def test_names_that_differ_only_in_case_in_one_file() -> None:
    (said,) = problems(JOB + JOB.replace("jobs.a", "jobs.A"))
    assert said.startswith('jobs.toml:6:7: jobs.A: differs only in case from "a"')


def test_problems_follow_the_order_of_the_files() -> None:
    said = problems("[jobs.a]\nx = 1", "y = 1", "= 1")
    assert [line.split(":")[0] for line in said] == ["jobs.toml"] * 3 + ["jobs1.toml", "jobs2.toml"]


def test_a_broken_file_makes_no_false_alarm_elsewhere() -> None:
    said = problems("[jobs.a]\nprovider = 'eu'\nhooks = ['team']\nspec.dataset = 'd'", "[providers.eu")
    assert [line.split(":")[0] for line in said] == ["jobs1.toml"]


def test_files_are_named_as_one_would_type_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write("d/jobs.toml", "x = 1")
    (tmp_path / "e").mkdir()
    for cwd, shown in ((tmp_path, "d/jobs.toml"), (tmp_path / "d", "jobs.toml"), (tmp_path / "e", str(path))):
        monkeypatch.chdir(cwd)
        with pytest.raises(ManifestError) as caught:
            load([path], KINDS, {})
        assert [problem.file for problem in caught.value.problems] == [shown]


def test_the_digest_is_that_of_the_bytes() -> None:
    a, b = write("a.toml", JOB), write("b.toml", "")
    before = load([a, b], KINDS, {}).digest
    assert load([a, b], KINDS, {}).digest == before
    write("a.toml", JOB + " ")
    assert load([a, b], KINDS, {}).digest != before
    write("a.toml", JOB)
    assert load([a, b], KINDS, {}).digest == before
    write("a.toml", JOB[:-1])
    write("b.toml", JOB[-1:])
    assert load([a, b], KINDS, {}).digest != before


def test_settings_are_read_beside_a_broken_job(tmp_path: Path) -> None:
    path = write("jobs.toml", "[orchestrator]\nproject = 'x'\n[jobs.a]\nprovider = 7\n[nonsense]")
    settings, root = load_settings([path], {})
    assert (settings.project, root) == ("x", tmp_path)


def test_ten_thousand_jobs() -> None:
    text = "".join(JOB.replace("jobs.a", f"jobs.a{index}") for index in range(10_000))
    manifest = load([write("jobs.toml", text)], KINDS, {})
    assert (len(manifest.jobs), list(manifest.jobs)[-1]) == (10_000, "a9999")


def test_no_file_at_all() -> None:
    with pytest.raises(SettingsError):
        load([], KINDS, {})
