"""`python -m benchmarks [--quick] [PART...]`: a table, each figure as a ratio beside its floor or peer."""

import argparse
from collections.abc import Callable, Mapping, Sequence

from benchmarks import daemon, deliveries, history, startup
from benchmarks.table import head, line, ms
from benchmarks.world import PAGE, place, sandbox, worker


def quiet(sizes: Sequence[int], rounds: int) -> None:
    """Measure a tick in which nothing changes, and the memory that it takes."""
    lone = None
    for size in (PAGE, *sizes):
        with sandbox() as provider, place(provider, provider.seed(size)) as folder:
            used = worker("memory", folder, provider.url)["mib"]
            if lone is None:
                lone = used
                continue
            found = worker("quiet", folder, provider.url, max(2, rounds * 1000 // size))
        ours, floor, name = found["ours"]["cpu"], found["floor"]["cpu"], f"quiet tick, {size:,} open"
        line(f"{name}: CPU", ms(ours), f"list + SQLite {ms(floor)}", ours / floor, "<= 3, aim 1.5")
        line(f"{name}: CPU per 1,000", ms(ours * 1000 / size), "", None, "in proportion")
        line(
            f"{name}: requests", f"{found['requests']:,.0f}", f"pages {-(-size // PAGE):,}", None, "the same"
        )
        line(f"{name}: transactions", f"{found['commits']:g}", "of the account's row", None, "0 per run")
        line(
            f"{name}: memory added",
            f"{used - lone:.1f} MiB",
            f"over {PAGE} open",
            None,
            "137 at 100,000, aim 30",
        )


def changed(size: int) -> None:
    """Measure the tick in which one run in ten has changed, beside plain SQL."""
    found = {}
    for side in ("ours", "floor"):
        with sandbox() as provider, place(provider, provider.seed(size)) as folder:
            found[side] = worker("changed", folder, provider.url, side)
    mine, least = found["ours"], found["floor"]
    if {mine["running"], mine["told"], least["running"], least["told"]} != {size // 5}:
        raise SystemExit(f"the two sides did not do the same: {mine}, {least}")
    name, told = f"1 in 10 of {size:,} changed", f"{least['commits']} transactions"
    line(
        f"{name}: CPU", ms(mine["cpu"]), f"plain SQL {ms(least['cpu'])}", mine["cpu"] / least["cpu"], "shown"
    )
    line(
        f"{name}: wall",
        ms(mine["wall"]),
        f"plain SQL {ms(least['wall'])}",
        mine["wall"] / least["wall"],
        "shown",
    )
    line(f"{name}: transactions", f"{mine['commits']}", told, None, "pages + 1")


def submitting(count: int) -> None:
    """Measure how fast runs are bought, beside one POST and three commits for each."""
    found = {}
    for side in ("ours", "floor"):
        with sandbox() as provider, place(provider, []) as folder:
            found[side] = worker("submit", folder, provider.url, side, count)
    mine, least = found["ours"], found["floor"]
    if mine["bought"] != count or least["requests"] != count:
        raise SystemExit(f"the two sides did not do the same: {mine}, {least}")
    rates = {side: count / one["wall"] for side, one in found.items()}
    beside = f"POST and three commits each {rates['floor']:,.0f} /s"
    line(
        f"submit {count:,}",
        f"{rates['ours']:,.0f} /s",
        beside,
        rates["ours"] / rates["floor"],
        ">= 0.6, aim 0.8",
    )
    line(
        f"submit {count:,}: CPU of each",
        ms(mine["cpu"] / count),
        f"floor {ms(least['cpu'] / count)}",
        None,
        "",
    )
    line(f"submit {count:,}: requests", f"{mine['requests']:,}", "one each, and listings", None, "")


def peers(rounds: int) -> None:
    """Measure the peers' way, a read for each run, beside ours."""
    with sandbox() as provider, place(provider, provider.seed(1000)) as folder:
        ours = worker("quiet", folder, provider.url, rounds)["ours"]
        for way, name in (("one", "SDK, one by one"), ("twenty", "SDK, 20 at once")):
            found = worker("sdk", folder, provider.url, way)
            beside = f"{name} {ms(found['cpu'])}"
            line("1,000 open: CPU", ms(ours["cpu"]), beside, ours["cpu"] / found["cpu"], "far below 1")


def slow(rounds: int) -> None:
    """Measure the wall time of a tick where each answer takes 50 ms."""
    with sandbox(latency_ms=50) as provider, place(provider, provider.seed(1000)) as folder:
        found = worker("quiet", folder, provider.url, rounds)
        sdk = worker("sdk", folder, provider.url, "twenty")["wall"]
    ours, floor = found["ours"]["wall"], found["floor"]["wall"]
    name = "1,000 open, 50 ms answers: wall"
    line(name, ms(ours), f"list + SQLite {ms(floor)}", ours / floor, "<= 1.3, aim 1.1")
    line(name, ms(ours), f"SDK, 20 at once {ms(sdk)}", ours / sdk, "far below 1")


def resting(seconds: float) -> None:
    """Measure the daemon while nothing happens."""
    with sandbox() as provider:
        nothing = daemon.idle(provider, [], seconds)
        many = daemon.idle(provider, provider.seed(10_000), max(seconds, 60))
    line("idle daemon: CPU a minute", f"{nothing:.3f} s", "nothing open", None, "<= 0.2 s, aim 0.05")
    line(
        "10,000 quiet, 30 s ticks: CPU a minute",
        f"{many:.3f} s",
        "polling included",
        None,
        "<= 2.8 s, aim 0.5",
    )


def latency(count: int) -> None:
    """Measure the time from a provider's change to the hook's receipt."""
    interval = 2.0
    with sandbox() as provider:
        found = daemon.latency(provider, count, interval)
    line("change to hook: p50", ms(found["p50"]), f"interval {ms(interval)}", found["p50"] / interval, "")
    limit = interval + 0.25
    line(
        "change to hook: p99",
        ms(found["p99"]),
        f"interval + 250 ms {ms(limit)}",
        found["p99"] / limit,
        "<= 1",
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="smaller, in about two minutes")
    parser.add_argument(
        "part",
        nargs="*",
        help="quiet, changed, submit, peers, slow, resting, latency, deliveries, history, startup; or all",
    )
    parser.add_argument("--peer", help="a Python with procrastinate[psycopg] and httpx, for deliveries")
    given = parser.parse_args()
    quick = given.quick
    parts: Mapping[str, Callable[[], None]] = {
        "quiet": lambda: quiet((1000,) if quick else (1000, 10_000, 100_000), 3 if quick else 15),
        "changed": lambda: changed(1000 if quick else 10_000),
        "submit": lambda: submitting(100 if quick else 500),
        "peers": lambda: peers(3 if quick else 10),
        "slow": lambda: slow(2 if quick else 5),
        "resting": lambda: resting(10 if quick else 60),
        "latency": lambda: latency(20 if quick else 200),
        "deliveries": lambda: deliveries.show(500 if quick else 2000, 1 if quick else 3, given.peer),
        "history": lambda: history.show(1000 if quick else 10_000, 2 if quick else 5),
        "startup": lambda: startup.show(5 if quick else 15),
    }
    head()
    for name in given.part or parts:
        parts[name]()


if __name__ == "__main__":
    main()
