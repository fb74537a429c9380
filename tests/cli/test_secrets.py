"""No secret leaves: whatever a provider or a receiver answers, and whatever a stranger's file asks for."""

import signal
from collections.abc import Iterator
from functools import partial

import pytest
from drive import Place, cartesia, cohere
from hostile import SPELLINGS, Hostile, holds, hostile

from orchestrator.hooks.webhook import make_secret

KEYS = {
    "CO_API_KEY": "CohereCanary/9f+Zk_3w=QpLx7",
    "CARTESIA_API_KEY": "CartesiaCanary-5tGb+6yHn/mJu8",
    "WANDB": "WandbCanary/0okm+9ijn_8uhb=7ygv",
    "TEAM": make_secret(),
}
WANDB = '[jobs.{name}.spec.settings.wandb]\nproject = "p"\napi_key = {{ env = "WANDB" }}\n'


@pytest.fixture
def server(place: Place) -> Iterator[Hostile]:
    with hostile() as found:
        found.keys |= {KEYS["TEAM"], KEYS["TEAM"].removeprefix("whsec_")}  # a receiver knows them anyway
        place.env |= KEYS
        yield found


def files(place: Place, server: Hostile) -> None:
    accounts = [
        f'[providers.{name}]\nbase_url = "{server.url}/{name}"\nrequests_per_second = 1000\n'
        for name in ("cartesia", "cohere")
    ]
    hook = f'[hooks.team]\nkind = "webhook"\nurl = "{server.url}/hook"\nallow_private = true\n'
    hook += 'secret = { env = "TEAM" }\nevents = ["job.submitted", "job.queued", "provider.paused"]\n'
    labels = cohere("labels") + WANDB.format(name="labels")
    place.write(cartesia("voice"), labels, hook, settings='hooks = ["team"]', accounts="\n".join(accounts))


def read_all(place: Place) -> None:
    """Ask in every way what is known, each time in a process that starts with no secret."""
    place("doctor", "-vv", code=None)
    for args in (("audit",), ("status",), ("events",), ("hooks", "log")):
        place(*args, "--json", code=None)


def shown(place: Place) -> dict[str, bytes]:
    """Return all that was printed, logged and stored."""
    written = [*place.folder.parent.glob("*.out"), *place.folder.parent.glob("*.err")]
    written += [path for path in (place.folder / ".orchestrator").rglob("*") if path.is_file()]
    return {path.name: path.read_bytes() for path in written}


def test_a_hostile_provider_gets_no_key_shown_or_stored(place: Place, server: Hostile) -> None:
    files(place, server)
    place("apply", "-y", "-vv", code=None)
    assert server.models, "the job of Cohere was not sent"
    assert set(KEYS.values()) <= server.keys
    read_all(place)
    for refusing in (0, 401, 500):
        server.refusing, before = refusing, server.requests
        daemon = place.start("up", "-vv")
        place.until(partial(server.asked_after, before + 3), "requests")
        daemon.signal(signal.SIGTERM)
        daemon.wait()
    read_all(place)
    found = shown(place)
    assert b"***" in found["state.db"]
    for name, data in found.items():
        for key in KEYS.values():
            assert not holds(data, key.removeprefix("whsec_")), f"{name} shows {key}"
    assert all(holds(spell(key).encode(), key) for key in KEYS.values() for spell in SPELLINGS)


def test_where_a_secret_is_not_known_only_the_code_is_shown(place: Place, server: Hostile) -> None:
    files(place, server)
    place("apply", "-y", code=None)
    server.refusing = 422
    del place.env["WANDB"]
    checks = {one["name"]: one["detail"] for one in place("doctor", "--json", code=None).json["checks"]}
    for account in ("cohere", "cartesia"):
        assert "answered 422: its text is withheld, since settings.wandb.api_key" in checks[account]
    for name, data in shown(place).items():
        assert not holds(data, KEYS["WANDB"]), name


def test_under_the_sandbox_no_secret_is_read_and_no_hook_runs(place: Place) -> None:
    touch = '{{ command = ["touch", "read-{}"] }}'.format
    wandb = WANDB.format(name="labels").replace('{ env = "WANDB" }', touch("wandb"))
    place.write(
        cohere("labels") + wandb,
        f'[hooks.far]\nkind = "webhook"\nurl = "https://example.invalid/x"\nsecret = {touch("far")}\n',
        f'[hooks.near]\nkind = "webhook"\nurl = "http://127.0.0.1:9/x"\nallow_private = true\n'
        f"secret = {touch('near')}\n",
        '[hooks.program]\nkind = "command"\ncommand = ["touch", "ran"]\n',
        settings='hooks = ["far", "near", "program"]',
        accounts=f"[providers.cohere]\napi_key = {touch('key')}\n",
    )
    place.env["ORCHESTRATOR_SANDBOX_STAGE_SECONDS"] = "0"
    applied = place("--sandbox", "apply", "-y", "--wait")
    tested = place("--sandbox", "hooks", "test", "program")
    log = place("--sandbox", "hooks", "log", "--json").json["deliveries"]
    doctor = place("--sandbox", "doctor", code=None)
    assert [path.name for path in place.folder.iterdir() if path.name.startswith(("read-", "ran"))] == []
    for hook in ("far", "program"):
        assert f"{hook} would get job.succeeded" in applied.err
        (sent,) = [one for one in log if one["hook"] == hook]
        assert sent["state"] == "delivered"
        assert sent["last_error"].startswith("shown, not sent")
    assert '"type":"job.succeeded"' in applied.err
    assert "program would get job.succeeded" in tested.err
    assert "sandbox.db" in doctor.out
    assert "near would get" not in applied.err
    place("--sandbox", "--with-hooks", "hooks", "test", "program")
    assert (place.folder / "ran").exists()
    assert not list(place.folder.glob("read-*"))


def test_a_database_password_is_never_shown(place: Place) -> None:
    place.write(cartesia("voice"))
    password, option = "Canary%2Fpass+word", "pass%77ord=OtherCanary1&sslp%61ssword=ThirdCanary1"
    place.env["ORCHESTRATOR_DATABASE"] = (
        f"postgresql://me:{password}@127.0.0.1:9/jobs?{option}&sslmode=disable"
    )
    shown = [
        place(*args, "-vv", code=None) for args in (("config", "show"), ("status",), ("doctor",), ("plan",))
    ]
    for one in shown:
        assert not [word for word in ("Canary", "anary1") if word in one.out + one.err], one.args
    config = place("config", "show", "--json").json["settings"]["database"]
    assert config.startswith("postgresql://me:***@127.0.0.1:9/jobs?")
    assert config.count("***") == 3
    assert "sslmode=disable" in config
    del place.env["ORCHESTRATOR_DATABASE"]
    for written in ("sslpassword=Canary", "pass%77ord=Canary", "sslp%61ssword=Canary"):
        place.write(cartesia("voice"), settings=f'database = "postgresql://me@127.0.0.1/jobs?{written}"')
        refused = place("validate", code=2)
        assert "jobs.toml:3:12: orchestrator.database" in refused.err + refused.out
        assert "password" in refused.err + refused.out
        assert "Canary" not in refused.err + refused.out
