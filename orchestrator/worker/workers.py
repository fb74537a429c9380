"""The accounts at work: each opened when it is first asked, and anew when its table has changed."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from orchestrator.config.manifest import AccountOptions, Manifest
from orchestrator.providers.base import SecretResolver
from orchestrator.providers.registry import open_provider, registry
from orchestrator.store.commit import Routing
from orchestrator.store.store import Store
from orchestrator.worker.account import AccountWorker
from orchestrator.worker.journal import Journal
from orchestrator.worker.secrets import KnownSecrets


@dataclass(kw_only=True)
class Workers:
    """Opens accounts, and keeps them open from one round to the next."""

    store: Store
    journal: Journal
    env: Mapping[str, str]
    jitter: Callable[[], float]
    deadline: float | None = None
    stopping: Callable[[], bool] = lambda: False
    """Says whether to begin nothing new."""
    _open: dict[str, AccountWorker] = field(default_factory=dict)
    _tables: dict[str, tuple[AccountOptions, Path]] = field(default_factory=dict)
    """What each was opened by: its table, and the folder of the file that holds it."""
    _secrets: KnownSecrets = field(init=False)

    def __post_init__(self) -> None:
        self._secrets = KnownSecrets(store=self.store, env=self.env)

    async def open(self, name: str, manifest: Manifest, routing: Routing) -> AccountWorker:
        """Return an account as these files declare it; raises `Denied` where it has no credential."""
        table = manifest.accounts[name], manifest.folder("providers", name)
        if self._tables.get(name) != table:
            await self.close(name)
        await self._secrets.learn(manifest, again=name not in self._open)
        if name not in self._open:
            self._open[name] = await self._new(name, *table, manifest.poll_interval(name), routing)
            self._tables[name] = table
        worker = self._open[name]
        worker.routing = routing
        worker.interval = manifest.poll_interval(name)
        worker.overdue = {
            job.name: job.policy.overdue_after
            for job in manifest.jobs.values()
            if job.account == name and job.policy.overdue_after is not None
        }
        worker.provider.http.withheld = self._secrets.withheld
        return worker

    async def _new(
        self, name: str, options: AccountOptions, root: Path, interval: timedelta, routing: Routing
    ) -> AccountWorker:
        secrets = SecretResolver(root=root, env=self.env)
        limits = {} if self.deadline is None else {"deadline": self.deadline}
        return AccountWorker(
            name=name,
            options=options,
            interval=interval,
            provider=await open_provider(registry()[options.kind], options, secrets, **limits),
            store=self.store,
            routing=routing,
            journal=self.journal,
            jitter=self.jitter,
            stopping=self.stopping,
        )

    def stop(self) -> None:
        """End every round: at once where it only reads, else after what is being sent."""
        for worker in self._open.values():
            worker.stop()

    async def close(self, name: str) -> None:
        """Give back the connections of one account."""
        worker = self._open.pop(name, None)
        if worker is not None:
            await worker.provider.close()

    async def close_all(self) -> None:
        """Give back the connections of all accounts."""
        for name in list(self._open):
            await self.close(name)
