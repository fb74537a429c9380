"""Which points there are, what may happen at each, and scripts drawn from that by a seed."""

import os
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from crash.harness import DRIVERS, Scenario
from crash.proxy import WIRE


@dataclass(frozen=True, kw_only=True)
class Point:
    """One place to be hit at."""

    actions: Sequence[str] = ("kill", "kill", "kill", "term", "exit", "stop", "raise")
    commands: Sequence[str] = ("up", "up", "apply")
    drivers: Sequence[str] = DRIVERS
    before: str = ""
    faults: Sequence[tuple[str, tuple[tuple[str, Any], ...]]] = ()
    count: int = 3
    """The highest visit that is reached for sure."""


_WIRE = Point(actions=("kill", "kill", "kill", "term", "stop", "reset"))
_ENDING = ("kill", "kill", "exit", "term", "stop", "raise")

POINTS: Mapping[str, Point] = {
    "C01": Point(commands=("apply",), count=1, actions=_ENDING),
    "C02": Point(commands=("apply",), count=1, actions=("kill", "kill", "exit", "term", "full", "raise")),
    "C03": Point(commands=("apply",), count=1, actions=_ENDING),
    "C04": Point(count=1),
    "C05": Point(count=1),
    "C06": Point(before="wiped", drivers=("cartesia", "cloudflare", "cohere")),
    "C07": Point(),
    "C08": Point(actions=("kill", "kill", "kill", "exit", "term", "full", "raise")),
    "C09": Point(),
    **dict.fromkeys(WIRE, _WIRE),
    "C10": replace(_WIRE, count=1, actions=("kill", "kill", "term")),
    "C18": Point(),
    "C19": Point(),
    "C20": Point(),
    "C21": Point(actions=("kill", "kill", "kill", "exit", "term", "full", "raise")),
    "C22": Point(),
    "C23": Point(commands=("up",)),
    "C24": Point(before="lost", count=1, commands=("up",)),
    "C25": Point(before="lost", count=1, commands=("up",)),
    "C28": Point(drivers=("oxen", "cloudflare")),
    "C29": Point(drivers=("oxen", "cloudflare")),
    "C30": Point(faults=(("status", (("operation", "create"), ("code", 429), ("applied", False))),), count=1),
    "C31": Point(commands=("up",), count=1, actions=("kill", "kill", "exit", "term")),
    "C33": Point(actions=("drain",)),
    "C35": Point(actions=("stop",)),
    "C32": Point(commands=("backup",), count=1, actions=("kill", "exit", "stop")),
}
"""Those that stand in the program or on the wire. C26 is a stop at C09 to C22 with `takeover`; C27 is C18 at
Oxen, C34 is every `full`."""
ONLY = os.environ.get("CRASH_POINTS", "").split()
"""The points to draw from, where not all are wanted."""

FAULTS: Sequence[tuple[str, Mapping[str, Sequence[Any]]]] = (
    ("drop_before", {}),
    ("drop_after", {}),
    ("reset_before", {}),
    ("reset_after", {}),
    ("reset_midway", {}),
    ("truncated", {}),
    ("applied_late", {"seconds": (1.0, 30.0, 80.0)}),
    ("listed_late", {"seconds": (1.0, 30.0, 80.0)}),
    ("doubled", {}),
    ("status", {"code": (500, 502, 503, 504), "applied": (True, False)}),
    ("wrong_length", {}),
    ("garbage", {}),
)
"""What the provider may do with a create; what is late is so by less than window and deadline (90 s)."""
LISTS: Sequence[str] = ("drop_before", "truncated", "reset_midway", "listed_twice", "repeated_cursor")


def drawn(seed: int, driver: str, database: str) -> Iterator[Scenario]:
    """Go through the points that `driver` has, over and over, in an order and with details by `seed`."""
    draw = random.Random(f"{seed} {driver} {database}")  # noqa: S311 - to be drawn again
    while True:
        names = [name for name, point in POINTS.items() if driver in point.drivers]
        if database == "postgres":
            names = [name for name in names if name not in ("C31", "C32")]
        else:
            names.remove("C35")
        names = [name for name in names if name in ONLY or not ONLY]
        if not names:
            return
        draw.shuffle(names)
        for name in names:
            yield at(name, draw, driver, database)


def at(name: str, draw: random.Random, driver: str, database: str) -> Scenario:
    """Draw one script that hits the program at the point `name`."""
    point = POINTS[name]
    action = draw.choice(point.actions)
    command = draw.choice(point.commands)
    faults = [*point.faults]
    if not point.before and not faults and draw.random() < 0.4:
        faults += [_fault(draw, driver) for _ in range(draw.choice((1, 1, 2)))]
    count = draw.randint(1, point.count) if not faults else 1
    return Scenario(
        seed=draw.randrange(2**31),
        driver=driver,
        database=database,
        point=name,
        action=action,
        command=command,
        count=count,
        before=point.before,
        faults=tuple(faults),
        resend=draw.random() < 0.3,
        cold=draw.random() < 0.1 and action not in ("stop",),
        takeover=action == "stop"
        and name in ("C09", "C18", "C19", "C20", "C22")
        and (database == "postgres" or command == "apply"),
        cut=name == "C35",
        back=draw.random() < 0.1,
    )


def at_random(seed: int, driver: str, database: str) -> Iterator[Scenario]:
    """Draw scripts that end the program at any time, by a timer of the kernel."""
    draw = random.Random(f"random {seed} {driver} {database}")  # noqa: S311 - to be drawn again
    while True:
        faults = tuple(_fault(draw, driver) for _ in range(draw.choice((0, 0, 1, 2))))
        yield Scenario(
            seed=draw.randrange(2**31),
            driver=driver,
            database=database,
            point="random",
            action="kill",
            command=draw.choice(("up", "up", "apply")),
            faults=faults,
            resend=draw.random() < 0.3,
            alarm=round(draw.uniform(0.02, 0.45), 4),
        )


def _fault(draw: random.Random, driver: str) -> tuple[str, tuple[tuple[str, Any], ...]]:
    if draw.random() < 0.15:
        kind = draw.choice([one for one in LISTS if driver == "cartesia" or one != "repeated_cursor"])
        return kind, (("operation", "list"), ("after", draw.randint(0, 2)))
    kind, options = draw.choice(FAULTS)
    given = tuple((key, draw.choice(list(values))) for key, values in options.items())
    return kind, (("operation", "create"), ("after", draw.randint(0, 2)), *given)
