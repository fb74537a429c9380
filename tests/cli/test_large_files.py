"""Job files that would take long or fill the screen are refused at once, and say so in few words."""

import shutil
from collections.abc import Callable

import pytest
from drive import Place, cartesia

DOTTED = ".".join("abcdefghijklmno")
LARGE: dict[str, Callable[[], str]] = {
    "dotted keys": lambda: "".join(f"k{number}.{DOTTED} = 1\n" for number in range(130_000)),
    "unknown keys": lambda: "[jobs.a]\n" + "".join(f"u{number} = 1\n" for number in range(700_000)),
    "a long list": lambda: f"[jobs.a]\nhooks = [{','.join('1' * 3_000_000)}]\n",
    "one wide table": lambda: "[jobs.a]\n" + "".join(f"u{number} = 1\n" for number in range(60_000)),
}


@pytest.mark.skipif(shutil.which("prlimit") is None, reason="takes prlimit")
@pytest.mark.parametrize("name", LARGE)
def test_what_nobody_needs_is_refused_at_once(place: Place, name: str) -> None:
    (place.folder / "jobs.toml").write_text(LARGE[name]())
    # Ended by the system where it takes more than this.
    place.prefix = ("prlimit", f"--as={600 * 2**20}", "--cpu=10")
    found = place("validate", code=2)
    assert "jobs.toml" in found.err
    assert "more than" in found.err
    assert len(found.err) < 1000


def test_a_hundred_problems_are_told_and_the_rest_counted(place: Place) -> None:
    path = place.write(cartesia("voice"))
    good = path.read_text()
    daemon = place.start("up", env={"ORCHESTRATOR_LISTEN": "127.0.0.1:0"})
    address = daemon.until("daemon.started")["address"]
    path.write_text(good + "".join(f"u{number} = 1\n" for number in range(9_000)))
    said = daemon.until("files.refused")
    assert len(said["error"]) < 4200
    assert "orchestrator validate" in said["error"]
    ready = place.client.get(f"{address}/readyz")
    assert "u0: unknown key" in ready.json()["trouble"]
    assert len(ready.content) < 6000
    assert daemon.stop() == 0
    text, document = place.together(("validate",), ("validate", "--json"), code=2)
    assert text.err.count("unknown key") == 100
    assert "and 8900 more\n9000 problems" in text.err
    assert (len(document.json["problems"]), document.json["more"]) == (100, 8900)
