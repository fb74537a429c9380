"""`/metrics` says what the status says, in the form that Prometheus reads."""

from prometheus_client.parser import text_string_to_metric_families

from .daemon import Daemon, until


def read(daemon: Daemon) -> dict[str, dict[tuple[str, ...], float]]:
    reply = daemon.client.get("/metrics")
    assert reply.headers["content-type"].startswith("text/plain")
    found = text_string_to_metric_families(reply.text)
    return {
        family.name: {tuple(one.labels.values()): one.value for one in family.samples} for family in found
    }


def test_what_is_settled_is_counted(settled: Daemon) -> None:
    found = read(settled)
    counts = {status: 0.0 for _, status in found["orchestrator_runs"]}
    for (_, status), number in found["orchestrator_runs"].items():
        counts[status] += number
    assert counts == {"succeeded": 2, "failed": 1}
    assert set(found["orchestrator_deliveries_waiting"].values()) == {0}
    assert set(found["orchestrator_hook_on"].values()) == {1}
    assert found["orchestrator_daemon_running"] == {(): 1}
    assert found["orchestrator_poll_lag_seconds"] == {}, "nobody waits for an account with nothing open"


def test_the_lag_is_that_of_the_status(busy: Daemon) -> None:
    def same() -> bool:
        shown = busy.get("/api/v1/jobs")["providers"]
        lags = {(one["provider"],): one["poll_lag"] for one in shown if one["open"]}
        return bool(lags) and set(read(busy)["orchestrator_poll_lag_seconds"]) == set(lags)

    until(same)
    assert set(read(busy)["orchestrator_provider_stale"].values()) == {0}
