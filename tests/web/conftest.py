"""The daemons that several tests ask: one whose jobs are final, one whose jobs go on."""

from collections.abc import Iterator

import pytest

from .daemon import Daemon, running, until

HOURS = "36000"


@pytest.fixture(scope="session")
def settled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon with nothing left to do; who changes something takes one of their own."""
    with running(tmp_path_factory.mktemp("settled")) as daemon:
        daemon.listen()
        until(lambda: _quiet(daemon))
        yield daemon


def _quiet(daemon: Daemon) -> bool:
    jobs = daemon.get("/api/v1/jobs")["jobs"]
    deliveries = daemon.get("/api/v1/deliveries")["deliveries"]
    return (
        sorted(job["status"] for job in jobs) == ["failed", "succeeded", "succeeded"]
        and len(deliveries) == 3
        and all(delivery["state"] == "delivered" for delivery in deliveries)
    )


@pytest.fixture(scope="session")
def busy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon whose jobs run for hours."""
    with running(tmp_path_factory.mktemp("busy"), ORCHESTRATOR_SANDBOX_STAGE_SECONDS=HOURS) as daemon:
        daemon.listen()
        until(lambda: all(job["remote_id"] for job in daemon.get("/api/v1/jobs")["jobs"]))
        yield daemon
