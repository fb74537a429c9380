"""What Prometheus reads: gauges of the database at each scrape, so that replicas agree."""

from collections.abc import Iterator, Mapping, Sequence

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily
from prometheus_client.registry import Collector

from orchestrator.app.documents import DaemonDocument, StatusDocument

MEDIA_TYPE = CONTENT_TYPE_LATEST
Samples = Mapping[tuple[str, ...], float]


class _Found(Collector):
    """What was found for one scrape."""

    def __init__(self, families: Sequence[GaugeMetricFamily]) -> None:
        self._families = families

    def collect(self) -> Iterator[GaugeMetricFamily]:
        yield from self._families


def written(runs: Samples, status: StatusDocument) -> bytes:
    """Write the page: `runs` counts by account and status, `status` is what `status --json` shows.

    An account with nothing open has no lag, and is left out there.
    """
    accounts = {one.provider: one for one in status.providers}
    waiting: Samples = {(one.hook,): one.waiting for one in status.hooks}
    on: Samples = {(one.hook,): float(one.state != "off") for one in status.hooks}
    late = {name: one.poll_lag for name, one in accounts.items()}
    lags: Samples = {(name,): lag for name, lag in late.items() if lag is not None}
    paused: Samples = {(name,): float(one.state == "paused") for name, one in accounts.items()}
    stale: Samples = {(name,): float(one.state == "stale") for name, one in accounts.items()}
    families = (
        _family("runs", "Runs by status.", ("provider", "status"), runs),
        _family("poll_lag_seconds", "How late the next complete listing is.", ("provider",), lags),
        _family("provider_paused", "1 where the credential is refused.", ("provider",), paused),
        _family("provider_stale", "1 where what is known of it is out of date.", ("provider",), stale),
        _family("deliveries_waiting", "Deliveries that are not settled.", ("hook",), waiting),
        _family("hook_on", "0 where the hook was switched off.", ("hook",), on),
        _family("daemon_running", "1 while a daemon is running.", (), _running(status.daemon)),
    )
    registry = CollectorRegistry()
    registry.register(_Found(families))
    return generate_latest(registry)


def _running(daemon: DaemonDocument | None) -> Samples:
    return {(): float(bool(daemon and daemon.running))}


def _family(name: str, told: str, labels: Sequence[str], samples: Samples) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"orchestrator_{name}", told, labels=labels)
    for values, value in sorted(samples.items()):
        family.add_metric(values, value)
    return family
