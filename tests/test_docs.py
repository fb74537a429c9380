"""What the pages say is so: commands, codes, words, keys, links, job files."""

import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import click
import pytest
from pydantic import BaseModel

from orchestrator.cli import COMMANDS, MODULES, cli
from orchestrator.config.manifest import AccountOptions, HookOptions, JobTable, Settings
from orchestrator.core.job import OnChange, OnRemove
from orchestrator.core.run import Reason, Status
from orchestrator.hooks.registry import registry as hook_registry
from orchestrator.providers.base import Provider
from orchestrator.providers.registry import registry as provider_registry

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
TEXTS = {page.relative_to(ROOT).as_posix(): page.read_text("utf-8") for page in PAGES}
README, OPERATIONS, PROVIDERS = (TEXTS[f"{n}.md"] for n in ("README", "docs/operations", "docs/providers"))
CODES = {"0", "1", "2", "3", "4", "5", "130", "143"}
FENCE = re.compile(r"^```(?P<info>[^\n]*)\n(?P<body>.*?)^```", re.MULTILINE | re.DOTALL)
KINDS = sorted(provider_registry())


def prose(text: str) -> str:
    return FENCE.sub("", text)


def blocks(text: str, language: str) -> list[tuple[str, str]]:
    """Return the code blocks of one language: what stands behind its name, and the content."""
    found = [(match["info"].strip(), match["body"]) for match in FENCE.finditer(text)]
    return [
        (info.removeprefix(language).strip(), body) for info, body in found if info.split()[:1] == [language]
    ]


def section(text: str, title: str) -> str:
    """Return what stands under one heading of the second level."""
    (found,) = re.findall(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    return str(found)


def first_cells(table: str) -> list[str]:
    """Return the first column of every table, less heads and code marks."""
    rows = re.findall(r"^\| (.*?) \|", table, re.MULTILINE)
    return [row.strip("`") for row in rows if row not in ("code", "status", "reason", "provider", "command")]


def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "orchestrator", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, stdin=subprocess.DEVNULL)


def commands() -> Iterator[tuple[str, str]]:
    """Yield every command line that a page shows, with its page."""
    for page, text in TEXTS.items():
        lines = [line for _, body in blocks(text, "sh") for line in body.splitlines()]
        lines += re.findall(r"`([^`\n]+)`", prose(text))
        for line in lines:
            for part in re.split(r"&&|#|\$\(", line):
                words = re.sub(r"^\S*bin/", "", part.strip())
                if words.startswith("orchestrator "):
                    yield page, words


def leaf(words: list[str]) -> tuple[click.Command, list[str]]:
    """Follow a command line to its command; returns the options it names, the common ones included."""
    command: click.Command = cli
    options = [word.partition("=")[0] for word in words if re.match(r"--?[a-zA-Z]", word)]
    for word in words:
        if not isinstance(command, click.Group):
            break
        if re.fullmatch(r"[a-z]+", word):
            found = command.get_command(click.Context(command), word)
            assert found is not None, f"no command {word}"
            command = found
    return command, options


def test_the_two_commands_stand_in_the_readme_as_they_are() -> None:
    assert "python3 -m venv .venv && .venv/bin/pip install -q -e . && .venv/bin/orchestrator demo\n" in README
    assert 'python3 -m venv .venv && .venv/bin/pip install -q -e ".[test]" && .venv/bin/pytest -q\n' in README


def parts(shown: str) -> dict[str, list[str]]:
    """Split what the demo shows at its titles, with ids, times and the machine made the same."""
    for pattern, same in (
        (r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "ID"),
        (r"\b\d+s\b", "0s"),
        (r"on \S+, pid \d+", "on laptop, pid 4711"),
        (r" +", " "),
    ):
        shown = re.sub(pattern, same, shown)
    found = [part.strip().split("\n") for part in shown.strip().split("\n\n")]
    return {title: rows for title, *rows in found}


def test_the_readme_shows_what_the_demo_prints(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "orchestrator", "demo"]
    printed = subprocess.run(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True
    ).stdout
    ((_, recorded),) = [block for block in blocks(README, "text") if block[1].startswith("Five jobs")]
    ours, theirs = parts(recorded), parts(printed)
    assert list(ours) == list(theirs)
    waited = ours.pop("$ orchestrator apply --wait"), theirs.pop("$ orchestrator apply --wait")
    told = ours.pop("What the hooks received"), theirs.pop("What the hooks received")
    assert ours == theirs
    assert sorted(told[0]) == sorted(told[1])
    # Who moves first, and which words of a provider are seen between two looks, is another matter each time.
    last = [[row for row in rows if re.search("succeeded|failed|why", row)] for rows in waited]
    assert sorted(last[0]) == sorted(last[1])
    assert waited[0][-2:] == waited[1][-2:]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_told(name: str) -> None:
    table = section(README, "Commands")
    assert f"`orchestrator {name}" in table
    command = cli.get_command(click.Context(cli), name)
    assert command is not None, MODULES.get(name, name)
    for inner in command.commands if isinstance(command, click.Group) else ():
        assert f"{name} {inner}" in table


@pytest.mark.parametrize(("page", "line"), sorted(set(commands())))
def test_a_command_that_is_told_exists(page: str, line: str) -> None:
    command, options = leaf(shlex.split(line)[1:])
    known = {option for place in (cli, command) for param in place.params for option in param.opts}
    assert set(options) <= known | {"-h", "--help"}, page


def test_exit_codes_and_states_are_those_of_the_program() -> None:
    assert set(first_cells(section(README, "Exit codes"))) == CODES
    stands = first_cells(section(README, "Where a job stands"))
    assert stands == [*Status, *Reason]
    assert all(f"    {status}" in TEXTS["docs/reliability.md"] for status in Status)


def test_the_providers_of_the_readme_are_those_of_the_program() -> None:
    table = section(README, "Providers")
    rows = re.findall(r"^\| `(\w+)` \|[^|]*\|([^|]*)\| (\w+) \| (\w+) \|", table, re.MULTILINE)
    assert sorted(kind for kind, *_ in rows) == KINDS
    for kind, marker, cancel, delete in rows:
        driver = provider_registry()[kind]
        field = driver.facts.marker_field.value
        assert (f"`{field}`" in marker) if field else marker.strip().startswith("none")
        assert (cancel, delete) == tuple("yes" if driver.can(call) else "no" for call in ("cancel", "delete"))
        assert driver.lifecycle is None or f"ended fine-tuning on {driver.lifecycle.ended}" in table


def test_every_setting_is_told() -> None:
    for key in Settings.model_fields:
        assert f"| `{key}` |" in OPERATIONS
        assert f"`ORCHESTRATOR_{key.upper()}`" in OPERATIONS
    for key in JobTable.model_fields:
        assert f"| `{key}` |" in OPERATIONS
    assert all(f"`{word}`" in OPERATIONS for word in (*OnChange, *OnRemove))
    for key in AccountOptions.model_fields:
        assert f"| `{key}` |" in PROVIDERS


def test_every_variable_that_the_program_reads_is_told() -> None:
    code = "".join(path.read_text("utf-8") for path in (ROOT / "orchestrator").rglob("*.py"))
    told = "".join(TEXTS.values())
    internal = {"ORCHESTRATOR_CRASH", "ORCHESTRATOR_CRASH_LEASE", "ORCHESTRATOR_COMPLETE"}
    for name in (
        set(re.findall(r"\bORCHESTRATOR_[A-Z_]+[A-Z]\b|(?<=_)ORCHESTRATOR_COMPLETE", code)) - internal
    ):
        assert f"`{name}" in told or f" {name}=" in told, name


@pytest.mark.parametrize("kind", KINDS)
def test_a_provider_is_told_in_full(kind: str) -> None:
    driver = provider_registry()[kind]
    told = section(PROVIDERS, driver.title)
    own = set(driver.Options.model_fields) - set(AccountOptions.model_fields)
    variables = {name for names in driver.credentials.values() for name in names}
    for word in {*own, *_fields(driver), *variables, *driver.status_map}:
        assert f"`{word}`" in told or f"`{word} " in told, word
    assert driver.docs in told
    assert {name for name in driver.steps if "." not in name} <= set(re.findall(r"`(\w+)`", told))
    facts = driver.facts
    sources = (facts.create_is_paid, facts.has_cancel)
    assert all(fact.source in PROVIDERS for fact in sources)


def _fields(driver: type[Provider]) -> Iterator[str]:
    def walk(model: type[BaseModel]) -> Iterator[str]:
        for name, field in model.model_fields.items():
            yield name
            for inner in (field.annotation, *get_args(field.annotation)):
                if isinstance(inner, type) and issubclass(inner, BaseModel):
                    # What a provider leaves open is told by its own documentation.
                    closed = inner.model_config.get("extra") != "allow" and inner.__name__ != "SecretRef"
                    yield from walk(inner) if closed else ()

    return walk(driver.Spec)


@pytest.mark.parametrize("kind", sorted(hook_registry()))
def test_every_hook_kind_and_its_keys_are_told(kind: str) -> None:
    hooks = TEXTS["docs/hooks.md"]
    for key in {*HookOptions.model_fields, *hook_registry()[kind].Options.model_fields}:
        assert re.search(rf"\b{key}\b", hooks), key
    assert f'kind = "{kind}"' in hooks


def test_what_is_not_supported_yet_is_refused_by_name(tmp_path: Path) -> None:
    told = section(README, "Not yet")
    (tmp_path / "jobs.toml").write_text(
        "[datasets.d]\n"
        '[providers.cartesia]\napi_key = { keyring = "a/b" }\n'
        '[jobs.x]\nprovider = "cartesia"\nneeds = ["y"]\nretries = 1\n[jobs.x.matrix]\na = [1]\n'
    )
    refused = run("validate", cwd=tmp_path)
    assert refused.returncode == 2
    for word in ("datasets", "needs", "matrix", "retries", "keyring"):
        assert f"`{word}`" in told or f"`[{word}]`" in told
        assert re.search(rf"\b{word}\b.*not supported yet", refused.stderr), refused.stderr


@pytest.mark.parametrize("page", TEXTS)
def test_links_resolve(page: str) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(TEXTS[page])):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        file = (ROOT / page).parent / path if path else ROOT / page
        assert file.is_file(), target
        headings = re.findall(r"^#+ (.*)$", file.read_text("utf-8"), re.MULTILINE) if anchor else [anchor]
        assert anchor in {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in headings}


@pytest.mark.parametrize("page", [page for page, text in TEXTS.items() if blocks(text, "toml")])
def test_job_files_in_the_pages_hold(page: str, tmp_path: Path) -> None:
    for name, body in blocks(TEXTS[page], "toml"):
        tomllib.loads(body)
        if name == "jobs.toml":
            (tmp_path / name).write_text(body)
            assert run("validate", cwd=tmp_path).returncode == 0


def test_the_readme_has_a_whole_job_file() -> None:
    assert "jobs.toml" in [name for name, _ in blocks(README, "toml")]


@pytest.mark.parametrize("command", [("validate",), ("plan", "--offline")], ids=" ".join)
def test_the_example_is_valid_in_a_fresh_clone(command: tuple[str, ...]) -> None:
    found = run("-f", "jobs.example.toml", *command, cwd=ROOT)
    assert (found.returncode, found.stderr) == (0, "")


def test_the_example_is_valid_as_a_user_would_copy_it(tmp_path: Path) -> None:
    (tmp_path / "jobs.toml").write_text((ROOT / "jobs.example.toml").read_text("utf-8"))
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "adapter_config.json").write_text('{"model_type": "mistral", "r": 8}')
    (tmp_path / "adapter" / "adapter_model.safetensors").write_bytes(bytes(64))
    (tmp_path / "promote.sh").write_text("#!/bin/sh\n")
    (tmp_path / "promote.sh").chmod(0o755)
    found = run("validate", cwd=tmp_path)
    assert (found.returncode, found.stderr) == (0, "")


@pytest.mark.parametrize("journey", ["From a spec to its POST", "From a snapshot to its receiver"])
def test_a_journey_has_few_stops_and_each_is_there(journey: str) -> None:
    text = section((ROOT / "docs" / "design.md").read_text(), journey)
    stops = [stop for stop in first_cells(text) if stop != "stop"]
    assert len(stops) == len(set(stops))
    assert 0 < len(stops) <= 12
    for module in re.findall(r"`([a-z]+\.[a-z_]+)`", text):
        assert (ROOT / "orchestrator" / f"{module.replace('.', '/')}.py").is_file(), module
