"""The program is hit at every named point, in real processes; the sandbox's ledger is the oracle.

Each failure prints what replays it. `pytest -m long tests/crash` plays ten times as many.
"""

import json
import os
import re
from itertools import islice
from pathlib import Path

import pytest

from crash.catalogue import POINTS, at_random, drawn
from crash.conftest import Crew
from crash.harness import DATABASES, DRIVERS, Outcome, Scenario
from crash.proxy import WIRE
from crash.report import ORDER
from orchestrator import crashpoint

REACHED = re.compile(r"""crashpoint\.reach\("([a-z-]+)"\)""")
OUTSIDE = {"drain-over", "database-cut"}
"""Points of the harness alone."""
EACH = 5
pytestmark = pytest.mark.timeout(900)
LONG_EACH = int(os.environ.get("CRASH_EACH", "140"))
RANDOM_EACH = int(os.environ.get("CRASH_RANDOM", "20"))

combinations = pytest.mark.parametrize(
    ("driver", "database"), [(driver, database) for driver in DRIVERS for database in DATABASES]
)


def check(outcomes: list[Outcome], seed: int) -> None:
    """Fail with everything that was found, and with what makes it happen again."""
    bad = [one for one in outcomes if one.findings]
    told = "\n".join(
        f"{one.findings}\n  replay: CRASH_REPLAY='{one.scenario.replay()}' "
        "pytest tests/crash/test_points.py -k replay"
        for one in bad
    )
    assert not bad, f"CRASH_SEED={seed}\n{told}"


@combinations
def test_a_hit_at_any_point_buys_nothing_twice_and_loses_nothing(
    crew: Crew, crash_seed: int, driver: str, database: str
) -> None:
    outcomes = crew(list(islice(drawn(crash_seed, driver, database), EACH)))
    check(outcomes, crash_seed)
    assert sum(one.hit for one in outcomes) > EACH / 2


@pytest.mark.long
@pytest.mark.timeout(7200)
@combinations
def test_a_thousand_hits(crew: Crew, crash_seed: int, driver: str, database: str) -> None:
    check(crew(list(islice(drawn(crash_seed + 1, driver, database), LONG_EACH))), crash_seed)


@pytest.mark.long
@pytest.mark.timeout(7200)
@combinations
def test_an_end_at_any_time(crew: Crew, crash_seed: int, driver: str, database: str) -> None:
    check(crew(list(islice(at_random(crash_seed, driver, database), RANDOM_EACH))), crash_seed)


@pytest.mark.skipif("CRASH_REPLAY" not in os.environ, reason="CRASH_REPLAY names a script")
def test_replay(crew: Crew) -> None:
    given = json.loads(os.environ["CRASH_REPLAY"])
    faults = tuple(
        (kind, tuple((key, value) for key, value in options)) for kind, options in given.pop("faults", [])
    )
    check(crew([Scenario(**given, faults=faults)]), 0)


def test_every_point_has_one_name_in_the_program_the_scripts_and_the_documents() -> None:
    program = Path(crashpoint.__file__).parent
    found = [name for file in program.rglob("*.py") for name in REACHED.findall(file.read_text())]
    assert sorted(found) == sorted({*POINTS} - {*WIRE} - OUTSIDE)
    assert {*POINTS} < {*ORDER}
    told = (Path(__file__).parents[2] / "docs" / "reliability.md").read_text()
    assert [name for name in ORDER if f"| {name} |" not in told] == []
