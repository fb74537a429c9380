import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.job import canonical, find_marker, fingerprint, marker, marker_prefix

GOLDEN = json.loads((Path(__file__).parent / "golden.json").read_text())
SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
)
KEYS = st.text("abc.", min_size=1, max_size=4)
SPECS = st.dictionaries(
    KEYS,
    st.recursive(
        SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3)
    ),
    max_size=4,
)


def turned(value: object) -> object:
    """Return `value` with the keys of every table in the opposite order."""
    if isinstance(value, dict):
        return {key: turned(value[key]) for key in reversed(value)}
    return [turned(inner) for inner in value] if isinstance(value, list) else value


@pytest.mark.parametrize("case", GOLDEN["fingerprints"])
def test_no_release_changes_a_fingerprint(case: dict[str, Any]) -> None:
    found = fingerprint(case["spec"], inputs=case["inputs"], secrets=case["secrets"])
    assert found == case["fingerprint"]


@pytest.mark.parametrize("case", GOLDEN["markers"])
def test_no_release_changes_a_marker(case: dict[str, Any]) -> None:
    assert marker(*case["of"]) == case["marker"]


@given(SPECS)
def test_the_order_of_keys_means_nothing(spec: dict[str, Any]) -> None:
    other = turned(spec)
    assert isinstance(other, dict)
    assert fingerprint(other, inputs={}) == fingerprint(spec, inputs={})


@given(SPECS, SPECS)
def test_only_the_same_work_has_the_same_fingerprint(one: dict[str, Any], other: dict[str, Any]) -> None:
    same = canonical(one) == canonical(other)
    assert (fingerprint(one, inputs={}) == fingerprint(other, inputs={})) is same


def test_a_folder_counts_as_the_content_of_its_files() -> None:
    spec = {"adapter": "./lora", "name": "n"}
    files = {"adapter": {"a.bin": "1" * 64, "b.bin": "2" * 64}}
    moved = {"adapter": "/elsewhere/lora", "name": "n"}
    other = {"adapter": {"a.bin": "1" * 64, "b.bin": "3" * 64}}
    assert fingerprint(spec, inputs=files) == fingerprint(moved, inputs=files)
    assert fingerprint(spec, inputs=files) != fingerprint(spec, inputs=other)


def test_a_secret_counts_nowhere() -> None:
    secrets = ("key", "wandb.api_key")
    bare = {"wandb": {"project": "p"}, "name": "n"}
    full = {"wandb": {"project": "p", "api_key": {"env": "W"}}, "name": "n", "key": {"env": "K"}}
    assert fingerprint(full, inputs={}, secrets=secrets) == fingerprint(bare, inputs={})
    assert fingerprint(full, inputs={}) != fingerprint(bare, inputs={})


def test_a_number_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        fingerprint({"rate": float("nan")}, inputs={})


@given(st.text(), st.text(), st.text(), st.text(), st.integers(1, 9))
def test_a_marker_is_found_whole_and_is_always_the_same(
    project: str, account: str, job: str, work: str, attempt: int
) -> None:
    made = marker(project, account, job, work, attempt)
    assert made == marker(project, account, job, work, attempt)
    assert made.startswith(marker_prefix(project))
    assert len(made) == len("ft1-") + 20
    assert find_marker(f"English narrator {made}") == made
    assert find_marker(f"[{made}]") == made
    for part in (
        f"a{made}",
        f"Z{made}",
        f"9{made}",
        f"{made}a",
        f"{made}Z",
        f"{made}9",
        made[:-1],
        made.upper(),
    ):
        assert find_marker(part) is None


@pytest.mark.parametrize("place", range(5))
def test_every_part_of_a_marker_counts(place: int) -> None:
    parts: list[Any] = ["acme", "cartesia", "narrator", "f" * 32, 1]
    before = marker(*parts)
    parts[place] = 2 if place == 4 else "other"
    assert marker(*parts) != before
    assert marker(*parts).startswith(marker_prefix("acme")) is (place != 0)


def test_the_last_of_two_markers_is_the_one_that_we_set() -> None:
    old, new = (marker("acme", "cartesia", "narrator", "f" * 32, attempt) for attempt in (1, 2))
    assert find_marker(f"copy of {old} {new}") == new
    assert find_marker("nothing of ours") is None
