"""P1 to P10 of `docs/reliability.md` over thousands of scripts; each is judged in every script."""

import os
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from crash.model import BLOWS, CREATES, Script
from crash.report import keep

SCRIPTS = 40
pytestmark = pytest.mark.timeout(900)  # all of the module's scripts are played for its first test
LONG = int(os.environ.get("CRASH_SCRIPTS", "2000"))
ENOUGH = 2000
"""Scripts in which every kind of blow and answer comes up; in fewer the rarest may not."""
WANTED = ("commit unknown", "commit refused", "stale write", "spoilt list", "restored")
MEMORY = Path("/dev/shm")


class Told:
    """What many scripts came to."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.scripts = 0
        self.broken: dict[str, list[str]] = {}
        self.seen: Counter[str] = Counter()

    async def play(self, count: int, template: Path, *, wanted: Sequence[str] = ()) -> None:
        """Play `count` scripts, and on until each of `wanted` came up, on files in memory.

        It is not the disk that is tested. What never comes up is left to the tests that ask for it.
        """
        with TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as name:
            folder = Path(name)
            shutil.copy(template, folder / "template.db")
            for number in range(max(count, ENOUGH if wanted else 0)):
                if number >= count and all(self.seen[what] for what in wanted):
                    break
                seed = self.seed * 1_000_000 + number
                script = Script(seed, folder / f"s{number}", folder / "template.db")
                try:
                    world = await script.play()
                except BaseException as error:
                    error.add_note(f"script {seed}: {script.log}")
                    raise
                self.scripts += 1
                self.seen += world.seen
                for obligation, found in world.broken.items():
                    self.broken.setdefault(obligation, []).append(f"script {seed}: {found} {script.log}")
                shutil.rmtree(folder / f"s{number}")


@pytest.fixture(scope="module")
async def told(_migrated_file: Path, crash_seed: int) -> Told:
    """The outcome of the default number of scripts; CRASH_SCRIPT plays a single one again."""
    made = Told(crash_seed)
    await made.play(int(os.environ.get("CRASH_SCRIPT_COUNT", SCRIPTS)), _migrated_file, wanted=WANTED)
    return made


def holds(told: Told, obligation: str) -> None:
    found = told.broken.get(obligation, [])
    assert not found, "\n".join([f"CRASH_SEED={told.seed}: {len(found)} scripts", *found[:5]])


async def test_p1_no_second_post_before_a_verdict_on_the_first(told: Told) -> None:
    holds(told, "P1")


async def test_p2_at_most_one_paid_run_for_an_attempt(told: Told) -> None:
    holds(told, "P2")


async def test_p3_every_paid_run_ends_bound_or_in_conflict(told: Told) -> None:
    holds(told, "P3")


async def test_p4_nothing_is_failed_or_parked_while_it_is_listed(told: Told) -> None:
    holds(told, "P4")


async def test_p5_the_result_of_a_commit_is_never_assumed(told: Told) -> None:
    assert told.seen["commit unknown"] > 0
    assert told.seen["commit refused"] > 0
    for obligation in ("P1", "P2", "P3", "P6"):
        holds(told, obligation)


async def test_p6_exactly_one_event_for_each_transition(told: Told) -> None:
    holds(told, "P6")


async def test_p7_writes_of_an_epoch_that_is_over_change_nothing(told: Told) -> None:
    assert told.seen["stale write"] > 0
    holds(told, "P7")


async def test_p8_what_is_open_never_exceeds_its_bound(told: Told) -> None:
    holds(told, "P8")


async def test_p9_a_spoilt_listing_is_no_verdict(told: Told) -> None:
    assert told.seen["spoilt list"] > 0
    holds(told, "P9")


async def test_p10_a_restored_backup_buys_nothing_that_is_listed(told: Told) -> None:
    assert told.seen["restored"] > 0
    holds(told, "P10")


@pytest.mark.long
@pytest.mark.timeout(3600)
async def test_p1_to_p10_over_thousands_of_scripts(
    _migrated_file: Path,  # noqa: PT019 - its path is needed
    crash_seed: int,
) -> None:
    made = Told(crash_seed + 1)
    await made.play(LONG, _migrated_file)
    blows = sum(count for what, count in made.seen.items() if what in (*BLOWS, *CREATES) and what != "ok")
    broken = len({line.split(":")[0] for lines in made.broken.values() for line in lines})
    keep(kind="model", seed=made.seed, scripts=made.scripts, blows=blows, broken=broken)
    assert not made.broken, "\n".join(line for lines in made.broken.values() for line in lines[:3])
    if LONG >= ENOUGH:
        assert not (set(BLOWS) | set(CREATES)) - set(made.seen)
