"""The engine: the job files at work on a store, one round on one account at a time."""

import os
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

import anyio
import structlog

from orchestrator.config.manifest import Manifest
from orchestrator.config.secret import Dummies
from orchestrator.core.run import Snapshot
from orchestrator.errors import Denied, LeaseLost, Missing, ProviderError, StoreError
from orchestrator.hooks.base import Hook
from orchestrator.hooks.registry import registry as hook_registry
from orchestrator.hooks.shown import instead_of, log_shown
from orchestrator.store.commit import Routing
from orchestrator.store.due_work import DueWork
from orchestrator.store.store import Store
from orchestrator.worker.account import AccountWorker
from orchestrator.worker.advance import advance
from orchestrator.worker.deliver import Deliverer
from orchestrator.worker.journal import Journal
from orchestrator.worker.poll import poll
from orchestrator.worker.recover import recover
from orchestrator.worker.routing import routing
from orchestrator.worker.submit import submit
from orchestrator.worker.trouble import Trouble
from orchestrator.worker.workers import Workers

log: structlog.stdlib.BoundLogger = structlog.get_logger("orchestrator.worker")

Reconcile = Callable[[Manifest, Routing], Awaitable[None]]


@dataclass(kw_only=True)
class _Work:
    """What a round has done so far."""

    sent: bool = False
    next_poll: datetime | None = None


class Engine:
    """Everything that may be done to `manifest`'s jobs; safe to use from several tasks at once.

    `env` is where secrets and credentials are looked up; with dummies in it, hooks that leave this machine
    tell `show` what they would send, unless `with_hooks`. `jitter` gives numbers from 0 to 1.
    `deadline` is how many seconds an exchange with a provider may take, an upload left out.
    """

    def __init__(
        self,
        store: Store,
        manifest: Manifest,
        journal: Journal,
        env: Mapping[str, str],
        *,
        jitter: Callable[[], float] = random.random,
        deadline: float | None = None,
        with_hooks: bool = False,
        show: Callable[[str], None] | None = None,
    ) -> None:
        self.store = store
        self.manifest = manifest
        self.journal = journal
        self.env = env
        self._show = (show or log_shown) if isinstance(env, Dummies) and not with_hooks else None
        self.pulse: Callable[[str], None] = lambda _: None
        """Called with the name of an account whose work goes on, however long it takes."""
        self.stopping = False
        """Set when nothing new should be begun; what is under way is finished."""
        self._workers = Workers(
            store=store,
            journal=journal,
            env=env,
            jitter=jitter,
            deadline=deadline,
            stopping=lambda: self.stopping,
        )
        self._busy: dict[str, anyio.Lock] = {}
        self._trouble = Trouble(store=store, jitter=jitter)
        self._changed: set[str] = set()
        """Accounts whose table changed, and that have not been made due since."""
        self.deliverer = Deliverer(
            store=store, hooks=self._hooks(manifest), jitter=jitter, stopping=lambda: self.stopping
        )

    @property
    def routing(self) -> Routing:
        """Whom events go to, by the files as they are now."""
        return routing(self.manifest)

    def _hooks(self, manifest: Manifest) -> Mapping[str, Hook]:
        kinds = hook_registry()
        env = os.environ if self._show is None else self.env
        made = {
            name: kinds[options.kind](options, manifest.folder("hooks", name), env=env)
            for name, options in manifest.hooks.items()
        }
        return made if self._show is None else instead_of(made, self._show)

    async def prepare(self) -> None:
        """Make sure that every account has its row, and that none waits for an older clock or credential."""
        await self._declare(self.manifest, self.deliverer.hooks)
        await self._reconsider()

    async def _declare(self, manifest: Manifest, hooks: Mapping[str, Hook]) -> None:
        await self.store.times.mend()
        await self.store.accounts.declare({name: one.kind for name, one in manifest.accounts.items()})
        await self.deliverer.declare(hooks)

    async def _reconsider(self) -> None:
        await self.store.accounts.reconsider(*self._changed)
        self._changed.clear()

    async def replace(self, manifest: Manifest, reconcile: Reconcile | None = None) -> None:
        """Go on with other files, after `reconcile`; where any of that raises, the old ones stay in force.

        It waits for nothing that is under way: that ends with the accounts and hooks that it began with.
        """
        hooks = self._hooks(manifest)
        await self._declare(manifest, hooks)
        if reconcile is not None:
            await reconcile(manifest, routing(manifest))
        before = self.manifest.accounts
        self._changed |= {name for name, table in manifest.accounts.items() if before.get(name) != table}
        self.manifest = manifest
        self.deliverer.replace(hooks)
        await self.deliverer.close_unused()
        await self._reconsider()

    async def round(self, name: str) -> timedelta | None:
        """Do all that is due for one account, and return how long it is until there is more."""
        async with self._busy.setdefault(name, anyio.Lock()):
            options = self.manifest.accounts.get(name)
            if options is None:
                await self._workers.close(name)
                return None  # it left the files; its runs are shown as stale
            due_work = await self.store.due_work.read(name, max_running=options.max_running)
            if not any(map(due_work.is_due, (*_sendable(due_work), due_work.poll))):
                return due_work.wait
            settled = await self._go_round(name, self.manifest, due_work)
            if settled is None:
                settled = await self.store.due_work.read(name, max_running=options.max_running)
            return settled.wait

    async def _go_round(self, name: str, manifest: Manifest, due_work: DueWork) -> DueWork | None:
        """Go one round by these files; returns what is left to do where that is known without asking."""
        work = _Work()
        try:
            async with self.store.leases.kept():
                await self._work(name, manifest, due_work, work)
        except ProviderError as error:
            if isinstance(error, Denied):
                await self._workers.close(name)  # the next try resolves the credentials anew
            await self._trouble.begins(name, error, due_work, manifest)
            if self.manifest.accounts.get(name) != manifest.accounts.get(name):
                await self.store.accounts.reconsider(name)  # its table was mended meanwhile
        except LeaseLost:
            log.info("account.taken_over", account=name)
        else:
            if work.next_poll is not None and not work.sent and not due_work.paused:
                return due_work.settled(work.next_poll)
            if work.next_poll is not None or work.sent:
                polled = work.next_poll is not None
                await self._trouble.ends(name, due_work, routing(manifest), polled=polled)
        return None

    async def send(self, name: str) -> bool:
        """Do what is due of sending alone; says whether there may be more to send at once."""
        if not await self._may_send(name):
            return False
        await self.round(name)
        return await self._may_send(name)

    async def _may_send(self, name: str) -> bool:
        options = self.manifest.accounts[name]
        due_work = await self.store.due_work.read(name, max_running=options.max_running)
        return any(map(due_work.is_due, _sendable(due_work)))

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

    async def _work(self, name: str, manifest: Manifest, due_work: DueWork, work: _Work) -> None:
        worker = await self._workers.open(name, manifest, routing(manifest))
        worker.between = partial(self._between, worker)
        with worker.round():
            work.sent = await self._send(worker, due_work)
            if due_work.is_due(due_work.poll):
                work.next_poll = await poll(worker)
                self._trouble.seen(name)

    async def _send(self, worker: AccountWorker, due_work: DueWork) -> bool:
        """Do all that is due but polling; says whether there was anything."""
        done = 0
        for moment, step in zip(_sendable(due_work), (recover, submit, advance), strict=True):
            if due_work.is_due(moment):
                done += await step(worker)
        return done > 0

    async def _between(self, worker: AccountWorker) -> None:
        """Let what has become due meanwhile go before the next page of a long listing."""
        self.pulse(worker.name)
        if not self.stopping:
            limit = worker.options.max_running
            await self._send(worker, await self.store.due_work.read(worker.name, max_running=limit))

    async def worker(self, name: str) -> AccountWorker:
        """Return an account ready to be asked; raises `Denied` where it has no credential."""
        return await self._workers.open(name, self.manifest, self.routing)

    def stop(self) -> None:
        """Begin nothing new; what is being sent is finished, what is only being read is cut off."""
        self.stopping = True
        self._workers.stop()

    async def close(self) -> None:
        """Give back connections and hooks."""
        with anyio.CancelScope(shield=True):
            try:
                await self.store.leases.let_go()
            except StoreError as error:
                log.warning("claims.left", error=error.message)  # they end by themselves
            await self._workers.close_all()
            await self.deliverer.close()


def _sendable(due_work: DueWork) -> tuple[datetime | None, ...]:
    """Return when each kind of sending is due, in the order in which they are done."""
    return (due_work.looks, due_work.sends, due_work.calls)
