"""Keeps what was measured as lines of JSON, and writes it up as the last section of `docs/reliability.md`.

CRASH_RESULTS=measured.jsonl pytest -m long tests/crash
python tests/crash/report.py measured.jsonl
"""

import json
import os
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from crash.harness import Outcome

RESULTS = "CRASH_RESULTS"
"""The environment variable that names the file to keep outcomes in."""
ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "reliability.md"
ORDER = (
    "before-recording",
    "recording",
    "recorded",
    "before-listing",
    "page-listed",
    "marker-found",
    "before-intent",
    "storing-intent",
    "intent-stored",
    "before-connect",
    "connected",
    "head-sent",
    "half-sent",
    "request-sent",
    "request-applied",
    "status-received",
    "half-received",
    "answer-received",
    "answer-written",
    "answer-journaled",
    "storing-id",
    "id-stored",
    "before-deliveries",
    "search-listed",
    "search-claimed",
    "stopped-past-lease",
    "draft-received",
    "step-stored",
    "step-made",
    "throttled",
    "migrating",
    "backing-up",
    "drain-over",
    "disk-full",
    "database-cut",
    "random",
)
"""All points, as a run meets them."""
PLACES = (
    "Where the points are: `before-recording` to `recorded` around the transaction of `apply`; "
    "`before-listing` to `marker-found` in the listing before a purchase; `before-intent` to "
    "`intent-stored` around the intent; `before-connect` to `half-received` on the wire of the "
    "create; `answer-received` to `answer-journaled` around the journal; `storing-id` and "
    "`id-stored` around the commit of the provider's id; `search-claimed` and `search-listed` in the "
    "search for a lost answer; `step-stored` and `step-made` around a call after create; `throttled` "
    "after a 429; `drain-over` where a stop no longer waits for a request; `database-cut` where the "
    "database's connection breaks between intent and answer."
)
TITLE = "## Measured\n"
BAD = ("duplicates", "losses", "wrong", "events")


def keep(**row: Any) -> None:
    """Append one line to the file that `CRASH_RESULTS` names, if it names one."""
    name = os.environ.get(RESULTS)
    if name:
        with Path(name).open("a") as file:  # one write of one line: several threads may be here
            file.write(json.dumps(row) + "\n")


def record(seed: int, one: "Outcome") -> None:
    """Keep the outcome of one script of the crash points."""
    keep(
        kind="hit",
        seed=seed,
        point=one.scenario.point,
        action=one.scenario.action,
        driver=one.scenario.driver,
        database=one.scenario.database,
        takeover=one.scenario.takeover,
        hit=one.hit,
        kills=one.kills,
        runs=one.runs,
        paid=one.paid,
        parked=one.parked,
        **{key: len(getattr(one, key)) for key in BAD},
        findings=one.findings,
        script=one.scenario.replay(),
        seconds=round(one.seconds, 2),
    )


def section(rows: Sequence[Mapping[str, Any]]) -> str:
    """Write everything up as Markdown."""
    kinds: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        kinds[row.get("kind", "hit")].append(row)
    return "\n".join([TITLE, *_points(kinds["hit"]), *_model(kinds["model"]), *_planted(kinds["planted"])])


def _points(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    hit = [row for row in rows if row["hit"]]
    points: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for row in hit:
        points[_point(row)].append(row)
    yield (
        "The program is started in real processes against the emulated providers, hit at a named point (a "
        "signal, an exception, a full disk, a cut connection), started again until all has settled, and its "
        "database compared with the providers' own ledger and with what the hooks heard. Every script buys "
        "three jobs; about four in ten also meet a lost, late, doubled or spoilt answer."
    )
    yield ""
    yield PLACES
    yield ""
    yield "| point | hits | kills | runs | paid | parked | twice | lost | wrong verdict | event or hook |"
    yield "|---|" + "---:|" * 9
    for name in sorted(points, key=ORDER.index):
        yield _line(name, points[name])
    yield _line("all", hit)
    yield ""
    yield (
        "`stopped-past-lease` is a process stopped until its lease has ended and another one has gone on; "
        "`draft-received` is `answer-received` at Oxen, whose create is a draft; `disk-full` is a full disk "
        "within a transaction. At `random` a timer of the kernel ends the process. A run is "
        "parked where its request never arrived: that is the right verdict."
    )
    yield ""
    seeds = ", ".join(map(str, sorted({row["seed"] for row in rows})))
    by = Counter((row["driver"], row["database"]) for row in hit)
    yield f"- Seeds: {seeds}. Scripts: {len(rows)}, {len(rows) - len(hit)} of which ended before their point."
    yield (
        "- Hits: "
        + ", ".join(f"{one} on {other} {count}" for (one, other), count in sorted(by.items()))
        + "."
    )
    yield "- " + _bound(hit)
    yield ""
    yield (
        "Again: `CRASH_RESULTS=measured.jsonl pytest -m long tests/crash`, then "
        "`python tests/crash/report.py measured.jsonl`. `CRASH_SEED` draws the same scripts; each failure "
        "prints what replays it alone. The default run plays a sample of forty."
    )
    yield ""


def _bound(hit: Sequence[Mapping[str, Any]]) -> str:
    kills, runs = sum(row["kills"] for row in hit), sum(row["runs"] for row in hit)
    bad = sum(row[key] for row in hit for key in BAD)
    if bad or not runs or not kills:
        return f"**{bad} findings in {runs} runs.**"
    return (
        f"None of {runs} runs was bought twice, lost or judged wrongly over {len(hit)} hits and {kills} "
        f"kills: at 95 % the rate is below 3/{runs} = {3 / runs:.2%} of the runs, and 3/{len(hit)} = "
        f"{3 / len(hit):.2%} of the hits."
    )


def _point(row: Mapping[str, Any]) -> str:
    if row["action"] == "full":
        return "disk-full"
    if row["takeover"]:
        return "stopped-past-lease"
    if row["point"] == "answer-received" and row["driver"] == "oxen":
        return "draft-received"
    return str(row["point"])


def _line(name: str, rows: Sequence[Mapping[str, Any]]) -> str:
    sums = [str(sum(row[key] for row in rows)) for key in ("kills", "runs", "paid", "parked", *BAD)]
    return f"| {name} | {len(rows)} | {' | '.join(sums)} |"


def _model(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    if not rows:
        return
    scripts = sum(row["scripts"] for row in rows)
    broken = sum(row["broken"] for row in rows)
    blows = sum(row["blows"] for row in rows)
    seeds = ", ".join(str(row["seed"]) for row in rows)
    yield (
        f"P1 to P10 over a virtual clock: {scripts} scripts (seeds {seeds}) with {blows} blows in the real "
        f"engine and store, {broken} of them broken. `pytest -m long tests/crash/test_model.py`."
    )
    yield ""


def _planted(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    if not rows:
        return
    yield "| planted bug | caught | by |"
    yield "|---|---|---|"
    for row in sorted(rows, key=lambda row: str(row["name"])):
        test = row["by"].removeprefix("tests/").replace("::", " ")
        yield f"| {row['name'].replace('-', ' ')} | {'yes' if row['caught'] else '**no**'} | `{test}` |"
    yield ""
    yield (
        "Each is a patch of `tests/crash/planted/`. Again: `pytest -m long tests/crash/test_planted.py`, "
        "which also plays each test where nothing is planted. Two bugs that one would expect are not there: "
        "a marker with the attempt's number, since that is how a marker is made (in its place stands one "
        "that a wiped database would not make again), and a lease from `now()` in place of "
        "`clock_timestamp()`, which are the same here, since every transaction reads the clock in its first "
        "statement (in its place stands a request after standing still)."
    )
    yield ""


def main(names: Sequence[str]) -> None:
    """Put the section at the end of the document, in place of the one that stands there."""
    rows = [json.loads(line) for name in names for line in Path(name).read_text().splitlines()]
    kept = DOCUMENT.read_text().split(TITLE)[0].rstrip()
    DOCUMENT.write_text(f"{kept}\n\n{section(rows).rstrip()}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
