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
    "before-recording": Point(commands=("apply",), count=1, actions=_ENDING),
    "recording": Point(
        commands=("apply",), count=1, actions=("kill", "kill", "exit", "term", "full", "raise")
    ),
    "recorded": Point(commands=("apply",), count=1, actions=_ENDING),
    "before-listing": Point(count=1),
    "page-listed": Point(count=1),
    "marker-found": Point(before="wiped", drivers=("cartesia", "cloudflare", "cohere")),
    "before-intent": Point(),
    "storing-intent": Point(actions=("kill", "kill", "kill", "exit", "term", "full", "raise")),
    "intent-stored": Point(),
    **dict.fromkeys(WIRE, _WIRE),
    "before-connect": replace(_WIRE, count=1, actions=("kill", "kill", "term")),
    "answer-received": Point(),
    "answer-written": Point(),
    "answer-journaled": Point(),
    "storing-id": Point(actions=("kill", "kill", "kill", "exit", "term", "full", "raise")),
    "id-stored": Point(),
    "before-deliveries": Point(commands=("up",)),
    "search-listed": Point(before="lost", count=1, commands=("up",)),
    "search-claimed": Point(before="lost", count=1, commands=("up",)),
    "step-stored": Point(drivers=("oxen", "cloudflare")),
    "step-made": Point(drivers=("oxen", "cloudflare")),
    "throttled": Point(
        faults=(("status", (("operation", "create"), ("code", 429), ("applied", False))),), count=1
    ),
    "migrating": Point(commands=("up",), count=1, actions=("kill", "kill", "exit", "term")),
    "drain-over": Point(actions=("drain",)),
    "database-cut": Point(actions=("stop",)),
    "backing-up": Point(commands=("backup",), count=1, actions=("kill", "exit", "stop")),
}
"""Those that stand in the program or on the wire. `report` names three by what they become: a stop with
`takeover` is stopped-past-lease, answer-received at Oxen is draft-received, every `full` is disk-full."""
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
            names = [name for name in names if name not in ("migrating", "backing-up")]
        else:
            names.remove("database-cut")
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
        and name in ("intent-stored", "answer-received", "answer-written", "answer-journaled", "id-stored")
        and (database == "postgres" or command == "apply"),
        cut=name == "database-cut",
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
