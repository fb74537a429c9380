"""The layers of the design, over the parsed imports: arrows point down only."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "orchestrator"
FILES = sorted(path for path in PACKAGE.rglob("*.py"))
LAYERS: tuple[frozenset[str], ...] = (
    frozenset({"__main__"}),
    frozenset({"cli"}),
    frozenset({"daemon", "client"}),
    frozenset({"web"}),
    frozenset({"app"}),
    frozenset({"worker"}),
    frozenset({"store", "providers", "hooks"}),
    frozenset({"net"}),
    frozenset({"config"}),
    frozenset({"core"}),
    frozenset({"errors"}),
)
"""From the top down; those on one level do not know each other."""

APART = {"crashpoint", "signals"}
"""Imported by whoever wants to die there, or to be ended in order; they know nothing themselves."""

OPENS = {"net", "providers", "hooks"}
"""Where requests are made by httpx."""

SANDBOXED = {"orchestrator/app/rehearsal.py", "orchestrator/cli/sandbox.py"}
"""What starts the sandbox."""

LAZY: dict[str, set[str]] = {
    "orchestrator/__init__.py": {"orchestrator.client"},
    "orchestrator/__main__.py": {"orchestrator.cli"},  # signals are set up before anything is loaded
    "orchestrator/cli/_app.py": {
        *("orchestrator.app.kinds", "orchestrator.cli._screen", "orchestrator.config.load")
    },
    "orchestrator/cli/_errors.py": {
        *("orchestrator.cli._sentences", "orchestrator.cli._table", "orchestrator.net.redaction")
    },
    "orchestrator/cli/_follow.py": {"orchestrator.cli._screen"},  # rich, where a terminal is drawn on
    "orchestrator/cli/_sentences.py": {"orchestrator.cli._screen"},
    "orchestrator/cli/apply.py": {"orchestrator.cli._attend"},  # the daemon, where somebody waits
    "orchestrator/cli/wait.py": {"orchestrator.cli._attend"},
    "orchestrator/cli/db.py": {"orchestrator.store.migrate"},  # alembic
    "orchestrator/store/opening.py": {"orchestrator.store.migrate"},
    "orchestrator/config/settings.py": {"orchestrator.config.load"},
    "orchestrator/hooks/notify.py": {"orchestrator.hooks._apprise", "orchestrator.hooks._template"},
    "orchestrator/store/hints.py": {"psycopg"},  # which not everybody has
}
"""What is loaded only when it is asked for, since few callers need it and it is slow to load."""

BY_NAME = {"orchestrator/cli/__init__.py"}
"""What loads modules by their names: the table of commands."""

PURE = {
    *("base64", "collections", "dataclasses", "datetime", "enum", "fnmatch", "hashlib", "json", "re"),
    *("typing", "unicodedata", "orchestrator"),
}


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def part(module: str) -> str | None:
    """Return the part of the package that a module belongs to, None where it is not ours."""
    first, _, rest = module.partition(".")
    return rest.split(".")[0] if first == "orchestrator" else None


def part_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path, *, hidden: bool | None = None) -> Iterator[str]:
    """Yield the modules that a file imports: all, or those inside functions, or those that are not."""
    return (module for module, inside in _imports(path) if hidden is None or inside is hidden)


@cache
def _imports(path: Path) -> tuple[tuple[str, bool], ...]:
    """Return each module that a file imports, and whether that is inside a function."""
    tree = ast.parse(path.read_text())
    inside = {
        id(node)
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for node in ast.walk(function)
    }
    found: list[tuple[str, bool]] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += ((alias.name, id(node) in inside) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name(path)} imports by a relative name"
            assert node.module is not None
            # `from orchestrator import x` and `from orchestrator.sandbox import server` name modules.
            modules = (node.module, *(f"{node.module}.{alias.name}" for alias in node.names))
            found += ((module, id(node) in inside) for module in modules)
    return tuple(found)


def users(library: str) -> set[str]:
    """Return the files that import `library`."""
    return {
        name(path)
        for path in [*FILES, *sorted((ROOT / "migrations").rglob("*.py"))]
        if any(module.split(".")[0] == library for module in imports(path))
    }


def test_every_part_has_its_place() -> None:
    known = {part for layer in LAYERS for part in layer} | APART | {"sandbox", "__init__"}
    assert {part_of(path) for path in FILES} <= known


@pytest.mark.parametrize("path", FILES, ids=name)
def test_arrows_point_down(path: Path) -> None:
    here = part_of(path)
    if here in ("__init__", "sandbox"):
        return
    if here in APART:
        allowed: set[str] = set()
    else:
        level = next(number for number, layer in enumerate(LAYERS) if here in layer)
        allowed = {here} | {part for layer in LAYERS[level + 1 :] for part in layer} | APART
    if name(path) in SANDBOXED:
        allowed |= {"sandbox"}
    found = {found for module in imports(path) if (found := part(module)) and found in _parts()}
    assert found <= allowed


def _parts() -> set[str]:
    return {part_of(path) for path in FILES}


@pytest.mark.parametrize("path", FILES, ids=name)
def test_no_import_is_hidden_or_for_types_alone(path: Path) -> None:
    text = path.read_text()
    assert "TYPE_CHECKING" not in text
    assert "import_module" not in text or name(path) in BY_NAME
    if part_of(path) != "sandbox":  # a program of its own: starting it as a child loads no server
        assert set(map(_file, imports(path, hidden=True))) - {""} == LAZY.get(name(path), set())


def _file(module: str) -> str:
    """Return the module that an import inside a function loads; empty for a name in it."""
    path = ROOT / module.replace(".", "/")
    ours = module.startswith("orchestrator.")
    return module if not ours or path.is_dir() or path.with_suffix(".py").is_file() else ""


def test_the_sandbox_stands_apart() -> None:
    for path in FILES:
        others = {found for module in imports(path) if (found := part(module)) is not None}
        if part_of(path) == "sandbox":
            assert others <= {"sandbox"}, name(path)
        elif name(path) not in SANDBOXED:
            assert "sandbox" not in others, name(path)


def test_the_core_does_nothing_but_decide() -> None:
    for path in FILES:
        if part_of(path) == "core":
            assert {module.split(".")[0] for module in imports(path)} <= PURE, name(path)


def test_each_library_stays_where_it_belongs() -> None:
    for user in users("httpx"):
        assert user.split("/")[1] in OPENS
    assert all(user.startswith(("orchestrator/store/", "migrations/")) for user in users("sqlalchemy"))
    assert users("rich") <= {"orchestrator/cli/_screen.py"}
    assert users("prometheus_client") <= {"orchestrator/web/metrics.py"}
    assert users("apscheduler") <= {"orchestrator/daemon/wakeup.py"}
    assert all(user.startswith(("orchestrator/store/migrate.py", "migrations/")) for user in users("alembic"))
