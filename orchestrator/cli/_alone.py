"""The lock that a daemon holds on an SQLite file; on PostgreSQL any number may run."""

from contextlib import AbstractContextManager, nullcontext

from orchestrator.store.lock import alone
from orchestrator.store.store import Store


def daemon_lock(store: Store) -> AbstractContextManager[None]:
    """Hold the lock, or raise `StoreError` that names the daemon which holds it."""
    return nullcontext() if store.database.path is None else alone(store.database.path)
