"""The engine: a manifest at work on a store, one round on one account at a time."""

import os
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Final

import anyio
import structlog

from orchestrator.config.manifest import AccountOptions, Manifest
from orchestrator.config.secret import Dummies
from orchestrator.core.cadence import lag, lags
from orchestrator.core.run import Snapshot
from orchestrator.core.schedule import asked_until, back_off
from orchestrator.errors import Denied, LeaseLost, Missing, ProviderError, StoreError
from orchestrator.hooks.base import Hook
from orchestrator.hooks.registry import registry as hook_registry
from orchestrator.hooks.shown import instead_of, log_shown
from orchestrator.providers.base import SecretResolver
from orchestrator.providers.registry import open_provider
from orchestrator.providers.registry import registry as provider_registry
from orchestrator.store.agenda import Agenda
from orchestrator.store.commit import Routing
from orchestrator.store.store import Store
from orchestrator.worker.account import AccountWorker
from orchestrator.worker.advance import advance
from orchestrator.worker.deliver import Deliverer
from orchestrator.worker.journal import Journal
from orchestrator.worker.poll import poll
from orchestrator.worker.recover import recover
from orchestrator.worker.secrets import KnownSecrets
from orchestrator.worker.submit import submit

log: structlog.stdlib.BoundLogger = structlog.get_logger("orchestrator.engine")

DENIED_BACKOFF: Final = timedelta(seconds=30)
"""First wait of an account whose credentials are refused; it doubles up to ten minutes."""


@dataclass(kw_only=True)
class _Work:
    """What a round has done so far."""

    sent: bool = False
    next_poll: datetime | None = None


class Engine:
    """Everything that may be done to `manifest`'s jobs; safe to use from several tasks at once.

    `env` is where secrets and credentials are looked up; with dummies in it, hooks that leave this machine
    tell `show` what they would send, unless `with_hooks`. `draw` gives numbers from 0 to 1 for jitter.
    `deadline` is how many seconds an exchange with a provider may take, an upload left out.
    """

    def __init__(
        self,
        store: Store,
        manifest: Manifest,
        journal: Journal,
        env: Mapping[str, str],
        *,
        draw: Callable[[], float] = random.random,
        deadline: float | None = None,
        with_hooks: bool = False,
        show: Callable[[str], None] | None = None,
    ) -> None:
        self.store = store
        self.manifest = manifest
        self.journal = journal
        self.env = env
        self.draw = draw
        self._show = (show or log_shown) if isinstance(env, Dummies) and not with_hooks else None
        self._limits = {} if deadline is None else {"deadline": deadline}
        self.pulse: Callable[[str], None] = lambda _: None
        """Told of an account whose work goes on, however long it takes."""
        self.stopping = False
        """Set when nothing new should be begun; what is under way is finished."""
        self._workers: dict[str, AccountWorker] = {}
        self._busy: dict[str, anyio.Lock] = {}
        self._lagging: set[str] = set()
        self._secrets = KnownSecrets(store=store, env=env)
        self.deliverer = Deliverer(
            store=store, hooks=self._hooks(), draw=draw, stopping=lambda: self.stopping
        )

    @property
    def routing(self) -> Routing:
        """Whom events go to, by the files as they are now."""
        return Routing(hooks=self.manifest.routes(), account_hooks=self.manifest.settings.hooks)

    def _hooks(self) -> Mapping[str, Hook]:
        kinds = hook_registry()
        env = os.environ if self._show is None else self.env
        made = {
            name: kinds[options.kind](options, self.manifest.folder("hooks", name), env=env)
            for name, options in self.manifest.hooks.items()
        }
        return made if self._show is None else instead_of(made, self._show)

    async def prepare(self) -> None:
        """Make sure that every account has its row, and that none waits for an older clock or credential."""
        await self.store.times.mend()
        await self.store.accounts.declare(
            {name: options.kind for name, options in self.manifest.accounts.items()}
        )
        await self.store.accounts.reconsider()
        await self.deliverer.declare()

    async def replace(self, manifest: Manifest) -> None:
        """Go on with other files: accounts and hooks whose tables changed are opened anew."""
        before, self.manifest = self.manifest, manifest
        changed = [name for name, table in manifest.accounts.items() if before.accounts.get(name) != table]
        for name in list(self._workers):
            async with self._busy.setdefault(name, anyio.Lock()):
                if before.accounts.get(name) != manifest.accounts.get(name):
                    await self._workers.pop(name).provider.close()
                else:
                    self._refresh(self._workers[name])
        if (before.hooks, before.origins) != (manifest.hooks, manifest.origins):
            old, self.deliverer = self.deliverer, self.deliverer.renewed(self._hooks())
            await old.close()
        await self.prepare()
        await self.store.accounts.reconsider(*changed)

    async def round(self, name: str) -> timedelta | None:
        """Do all that is due for one account, and return how long it is until there is more."""
        options = self.manifest.accounts.get(name)
        if options is None:
            return None  # it left the files; its runs are shown as stale
        async with self._busy.setdefault(name, anyio.Lock()):
            agenda = await self.store.agendas.read(name, max_running=options.max_running)
            if not any(map(agenda.due, (*_sendable(agenda), agenda.poll))):
                return agenda.wait
            work = _Work()
            try:
                async with self.store.leases.kept():
                    await self._work(name, options, agenda, work)
            except Denied as error:
                await self._pause(name, error, agenda.failures)
            except ProviderError as error:
                await self._fail(name, error, agenda.failures)
            except LeaseLost:
                log.info("account.taken_over", account=name)
            else:
                if work.next_poll is not None and not work.sent and not agenda.paused:
                    return agenda.settled(work.next_poll).wait  # a quiet look asks nothing twice
                await self._recovered(name, agenda, work)
            return (await self.store.agendas.read(name, max_running=options.max_running)).wait

    async def _recovered(self, name: str, agenda: Agenda, work: _Work) -> None:
        if not work.sent and work.next_poll is None:
            return  # the provider was not asked, so that nothing is known of it
        if agenda.paused:
            await self.store.accounts.resume(name, self.routing)
            log.info("account.resumed", account=name)
        elif agenda.failures and work.next_poll is None:
            await self.store.accounts.recover(name)

    async def send(self, name: str) -> bool:
        """Do what is due of sending alone; says whether there may be more to send at once."""
        options = self.manifest.accounts[name]
        before = await self.store.agendas.read(name, max_running=options.max_running)
        if not any(map(before.due, _sendable(before))):
            return False
        await self.round(name)
        after = await self.store.agendas.read(name, max_running=options.max_running)
        return any(map(after.due, _sendable(after)))

    async def read(self, name: str, remote_id: str) -> Snapshot | None:
        """Read one fine-tune of an account, from a listing where it has no other way; None: not there."""
        worker = await self.worker(name)
        if worker.provider.can("get"):
            try:
                return await worker.provider.get(remote_id)
            except Missing:
                return None
        listed = await worker.listing()
        return next((item for item in listed if item.remote_id == remote_id), None)

    async def _work(self, name: str, options: AccountOptions, agenda: Agenda, work: _Work) -> None:
        worker = await self._worker(name, options)
        with worker.round():
            work.sent = await self._send(worker, agenda)
            if agenda.due(agenda.poll):
                work.next_poll = await poll(worker)
                self._lagging.discard(name)

    async def _send(self, worker: AccountWorker, agenda: Agenda) -> bool:
        """Do all that is due but polling; says whether there was anything."""
        done = 0
        for moment, step in zip(_sendable(agenda), (recover, submit, advance), strict=True):
            if agenda.due(moment):
                done += await step(worker)
        return done > 0

    async def _between(self, name: str) -> None:
        """Let what has become due meanwhile go before the next page of a long listing."""
        self.pulse(name)
        worker, options = self._workers[name], self.manifest.accounts.get(name)
        if options is not None and not self.stopping:
            await self._send(worker, await self.store.agendas.read(name, max_running=options.max_running))

    async def worker(self, name: str) -> AccountWorker:
        """Return an account ready to be asked; raises `Denied` where it has no credential."""
        return await self._worker(name, self.manifest.accounts[name])

    async def _worker(self, name: str, options: AccountOptions) -> AccountWorker:
        await self._secrets.learn(self.manifest, again=name not in self._workers)
        if name not in self._workers:
            secrets = SecretResolver(root=self.manifest.folder("providers", name), env=self.env)
            kind = provider_registry()[options.kind]
            provider = await open_provider(kind, options, secrets, **self._limits)
            self._workers[name] = AccountWorker(
                name=name,
                options=options,
                interval=self.manifest.poll_interval(name),
                provider=provider,
                store=self.store,
                routing=self.routing,
                journal=self.journal,
                draw=self.draw,
                stopping=lambda: self.stopping,
                between=partial(self._between, name),
            )
            self._refresh(self._workers[name])
        self._workers[name].provider.http.withheld = self._secrets.withheld
        return self._workers[name]

    def _refresh(self, worker: AccountWorker) -> None:
        worker.routing = self.routing
        worker.interval = self.manifest.poll_interval(worker.name)
        worker.overdue = {
            job.name: job.policy.overdue_after
            for job in self.manifest.jobs.values()
            if job.account == worker.name and job.policy.overdue_after is not None
        }

    async def _pause(self, name: str, error: Denied, failures: int) -> None:
        worker = self._workers.pop(name, None)  # the next try resolves the credentials anew
        if worker is not None:
            await worker.provider.close()
        now, wait = await self.store.now(), error.retry_after
        until = back_off(failures + 1, now, draw=self.draw(), retry_after=wait, least=DENIED_BACKOFF)
        first = await self.store.accounts.pause(name, error.message, self.routing, until=until)
        if first:
            log.error("account.paused", account=name, error=error.message, hint=error.hint)
        await self._alarm(name)

    async def _fail(self, name: str, error: ProviderError, failures: int) -> None:
        now, wait = await self.store.now(), error.retry_after
        until = back_off(failures + 1, now, draw=self.draw(), retry_after=wait)
        await self.store.accounts.fail(name, error.message, until=until, asked=asked_until(now, wait))
        log.warning("account.failed", account=name, error=error.message, failures=failures + 1)
        await self._alarm(name)

    async def _alarm(self, name: str) -> None:
        """Say so once when what is known of an account with open runs has become old."""
        account = next(one for one in await self.store.accounts.all() if one.name == name)
        interval = account.interval or self.manifest.poll_interval(name)
        late = lag(account.known_at, interval, now := await self.store.now())
        if account.open and lags(account.known_at, interval, now) and name not in self._lagging:
            self._lagging.add(name)
            seconds = round(late.total_seconds()) if late else None
            log.error("account.lags", account=name, poll_lag=seconds, error=account.last_error)

    def stop(self) -> None:
        """Begin nothing new; what is being sent is finished, what is only being read is cut off."""
        self.stopping = True
        for worker in self._workers.values():
            worker.stop()

    async def close(self) -> None:
        """Give back connections and hooks."""
        with anyio.CancelScope(shield=True):
            try:
                await self.store.leases.let_go()
            except StoreError as error:
                log.warning("claims.left", error=error.message)  # they end by themselves
            for worker in self._workers.values():
                await worker.provider.close()
            self._workers.clear()
            await self.deliverer.close()


def _sendable(agenda: Agenda) -> tuple[datetime | None, ...]:
    """Return when each kind of sending is due, in the order in which they are done."""
    return (agenda.looks, agenda.sends, agenda.calls)
