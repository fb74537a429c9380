"""Local files of a job: found beside their file, checked, hashed from one descriptor, and remembered."""

import hashlib
import os
from pathlib import Path

import pytest

from orchestrator.config import inputs
from orchestrator.config.load import load
from orchestrator.core.job import Input, Job

from .files import KINDS, problems, write

TEXT = "[providers.store]\naccount_id = 'a'\nregion = 'r'\n[jobs.a]\nprovider = 'store'\nspec.adapter = '{}'"
FILES = {"config.json": b"{}", "weights.bin": b"w" * 1000}


def put(folder: str = "adapter") -> None:
    for name, content in FILES.items():
        write(f"{folder}/{name}", content)


def job(adapter: str = "adapter", at: str = "jobs.toml") -> Job:
    return load([write(at, TEXT.format(adapter))], KINDS, {}).jobs["a"]


def refused(adapter: str = "adapter") -> list[str]:
    return [line.partition(": jobs.a.spec.adapter: ")[2] for line in problems(TEXT.format(adapter))]


def test_files_are_measured(tmp_path: Path) -> None:
    put()
    found = job()
    assert found.spec == {"adapter": str(tmp_path / "adapter")}
    assert found.inputs == {
        name: Input(
            path=str(tmp_path / "adapter" / name),
            sha256=hashlib.sha256(content).hexdigest(),
            size=len(content),
        )
        for name, content in FILES.items()
    }


def test_paths_start_at_their_file(tmp_path: Path) -> None:
    put("deep/adapter")
    assert job(at="deep/jobs.toml").spec["adapter"] == str(tmp_path / "deep" / "adapter")
    assert job("../deep/adapter", "other/jobs.toml").spec["adapter"] == str(tmp_path / "deep" / "adapter")
    assert job(str(tmp_path / "deep" / "adapter")).inputs


def test_content_counts_and_place_does_not() -> None:
    put("one")
    put("two")
    first = job("one").fingerprint
    assert job("two").fingerprint == first
    write("two/weights.bin", b"other")
    assert job("two").fingerprint != first


def test_a_folder_is_not_always_asked_for() -> None:
    text = TEXT.replace("spec.adapter = '{}'", "spec = {{}}").format()
    assert load([write("jobs.toml", text)], KINDS, {}).jobs["a"].inputs == {}


def test_what_is_not_there(tmp_path: Path) -> None:
    missing = [f'no such folder: "{tmp_path}/adapter"']
    assert refused()[0][:30] == missing[0][:30]
    write("adapter", "a file")
    assert refused()[0][:30] == missing[0][:30]


def test_what_is_no_regular_file(tmp_path: Path) -> None:
    put()
    folder = tmp_path / "adapter"
    (folder / "config.json").unlink()
    assert refused() == ["config.json: No such file or directory"]
    os.mkfifo(folder / "config.json")
    assert refused() == ["config.json is not a regular file"]
    (folder / "config.json").unlink()
    (folder / "config.json").mkdir()
    assert refused() == ["config.json is not a regular file"]
    (folder / "config.json").rmdir()
    (folder / "config.json").symlink_to("/etc/passwd")
    (folder / "weights.bin").unlink()
    (folder / "weights.bin").symlink_to("nowhere")
    assert refused() == [f"{name} is a link; a regular file is needed" for name in FILES]


def test_a_path_that_is_none() -> None:
    (said,) = problems(TEXT.replace("'{}'", '"a\\u0000b"'))
    assert "no such folder" in said
    assert said.isprintable()


def test_too_large(tmp_path: Path) -> None:
    put()
    os.truncate(tmp_path / "adapter" / "weights.bin", inputs.LARGEST + 1)
    assert refused() == ["weights.bin is larger than 512 MB"]


def test_a_hash_is_remembered_while_the_file_stays_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put()
    real, hashed = hashlib.file_digest, []

    def counting(file: object, name: str) -> object:
        hashed.append(name)
        return real(file, name)  # type: ignore[arg-type]  # handed through as it came

    monkeypatch.setattr(hashlib, "file_digest", counting)
    first = job()
    assert len(hashed) == 2
    assert job() == first
    assert len(hashed) == 2
    path = tmp_path / "adapter" / "weights.bin"
    status = path.stat()
    path.write_bytes(b"v" * 1000)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert job().inputs["weights.bin"].sha256 == hashlib.sha256(b"v" * 1000).hexdigest()


def test_a_file_that_changes_while_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put()
    real = hashlib.file_digest

    def slow(file: object, name: str) -> object:
        (tmp_path / "adapter" / "config.json").write_bytes(b"changed")
        return real(file, name)  # type: ignore[arg-type]  # handed through as it came

    monkeypatch.setattr(hashlib, "file_digest", slow)
    assert "config.json changed while it was read" in refused()


def test_descriptors_are_given_back() -> None:
    put()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        job()
        refused("nowhere")
    assert len(os.listdir("/proc/self/fd")) == before
