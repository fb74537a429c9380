"""What is shipped: the wheel's content, what it needs, and that versions are pinned for all of it."""

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import entry_points, requires
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
PACKAGE = ROOT / "orchestrator"
EXTRAS = sorted({*PROJECT["optional-dependencies"]} - {"test"})
"""What a user may install beside it; the tests need all of it."""


def name_of(requirement: str) -> str:
    return re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0].lower().replace("_", "-")


def imported() -> Iterator[str]:
    """Yield the top-level module of every import of the package and its migrations."""
    pattern = re.compile(r"^\s*(?:import|from) ([A-Za-z_]\w*)", re.MULTILINE)
    for folder in (PACKAGE, ROOT / "migrations"):
        for path in folder.rglob("*.py"):
            yield from pattern.findall(path.read_text("utf-8"))


@pytest.mark.long
def test_the_wheel_holds_all_that_it_needs(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(tmp_path), str(ROOT)]
    subprocess.run(build, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    with ZipFile(wheel) as archive:
        names = set(archive.namelist())
    package = {
        path.relative_to(ROOT).as_posix()
        for path in PACKAGE.rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    versions = {f"orchestrator/_migrations/versions/{path.name}" for path in _versions()}
    assert names >= package | versions
    assert names >= {
        "orchestrator/_migrations/env.py",
        "orchestrator/_example/jobs.example.toml",
        "orchestrator/cli/starter.toml",
        "orchestrator/py.typed",
    }
    assert not [name for name in names if name.startswith(("tests/", "benchmarks/"))]


def _versions() -> list[Path]:
    return sorted((ROOT / "migrations" / "versions").glob("*.py"))


def test_what_the_package_imports_is_what_it_asks_for() -> None:
    asked = {name_of(requirement) for requirement in PROJECT["dependencies"]}
    unseen = {"sniffio"}  # which spares httpcore a failing import at every lock
    # `pydantic_core` and `starlette` are the undersides of pydantic and FastAPI, of one version with them.
    parts = {"pydantic_core": "pydantic", "starlette": "fastapi"}
    third = {module for module in imported() if module not in sys.stdlib_module_names} - {"orchestrator"}
    used = {parts.get(module, module).replace("_", "-") for module in third}
    extras = {name_of(one) for name in EXTRAS for one in PROJECT["optional-dependencies"][name]}
    assert asked - unseen <= used <= asked | extras


def test_requirements_pin_every_dependency_and_name_no_address() -> None:
    text = (ROOT / "requirements.txt").read_text("utf-8")
    pinned = set(re.findall(r"^([a-z0-9._-]+)==", text, re.MULTILINE))
    optional = PROJECT["optional-dependencies"]
    needed = [*PROJECT["dependencies"], *(one for name in EXTRAS for one in optional[name])]
    assert {name_of(requirement) for requirement in needed} <= pinned
    assert len(re.findall(r"^\S+==.* \\\n    --hash=sha256:", text, re.MULTILINE)) == len(pinned)
    assert "://" not in text
    assert "@ " not in text


def test_the_tests_install_every_extra() -> None:
    optional = PROJECT["optional-dependencies"]
    assert set(optional["test"]) >= {one for name in EXTRAS for one in optional[name]}


def test_the_installed_package_is_this_one() -> None:
    assert requires("finetune-orchestrator") is not None
    for group, table in PROJECT["entry-points"].items():
        found = {point.name: point.value for point in entry_points(group=group)}
        assert found.items() >= table.items()


def test_the_changelog_tells_of_this_version() -> None:
    (version,) = re.findall(r'^__version__ = "(.+)"$', (PACKAGE / "__init__.py").read_text(), re.MULTILINE)
    assert f"## [{version}] - " in (ROOT / "CHANGELOG.md").read_text("utf-8")
    assert (PACKAGE / "py.typed").is_file()
