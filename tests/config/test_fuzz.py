"""Whatever stands in a job file, it loads or is refused in words."""

import tomllib
from pathlib import Path

import tomlkit
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.config.load import load
from orchestrator.config.manifest import Manifest
from orchestrator.errors import ManifestError, Problem

from .files import KINDS, real_kinds

REAL = real_kinds()
WORDS = [
    *(
        "orchestrator",
        "providers",
        "hooks",
        "jobs",
        "datasets",
        "a",
        "voice",
        "store",
        "post",
        "kind",
        "spec",
    ),
    *(
        "dataset",
        "deep",
        "api_key",
        "env",
        "file",
        "command",
        "keyring",
        "many",
        "free",
        "adapter",
        "project",
    ),
    *("database", "listen", "max_new_runs", "poll_interval", "events", "needs", "retries", "matrix", "name"),
    *("cartesia", "oxen", "cloudflare", "cohere", "webhook", "url", "secret", "settings", "training_params"),
]
KEYS = st.sampled_from(WORDS) | st.text(max_size=5)
LEAVES = (
    st.sampled_from([*WORDS, "1s", "${a}", "ft1-" + "a" * 20, "https://x", "sqlite:///x"])
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=10)
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.booleans()
    | st.dates()
)
TREES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=20,
)
SHAPED = st.fixed_dictionaries(
    {},
    optional={
        section: st.dictionaries(KEYS, st.dictionaries(KEYS, TREES, max_size=5) | TREES, max_size=3)
        for section in ("orchestrator", "providers", "hooks", "jobs")
    },
)


def judge(text: str | bytes) -> Manifest | tuple[Problem, ...]:
    path = Path.cwd() / "fuzz.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    found: Manifest | tuple[Problem, ...] = ()
    for kinds in (KINDS, REAL):
        try:
            found = load([path], kinds, {})
        except ManifestError as error:
            found = error.problems
            assert found
            assert all(str(problem).isprintable() and problem.file == "fuzz.toml" for problem in found)
    return found


@given(st.binary(max_size=300))
def test_bytes(data: bytes) -> None:
    judge(data)


@given(st.text(max_size=100))
def test_text(text: str) -> None:
    judge(text.encode(errors="replace"))


@given(SHAPED | st.dictionaries(KEYS, TREES, max_size=4))
def test_trees(document: dict[str, object]) -> None:
    text = tomlkit.dumps(document)
    found = judge(text)
    try:
        tomllib.loads(text)
    except ValueError:
        return
    if not isinstance(found, Manifest):
        assert all(problem.line and problem.column for problem in found)
