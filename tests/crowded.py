"""The threads that everybody shares, all taken: as they would be by something that hangs in them."""

from collections.abc import Iterator
from contextlib import contextmanager

from anyio import to_thread


@contextmanager
def crowded() -> Iterator[None]:
    """Leave no shared thread free."""
    everywhere = to_thread.current_default_thread_limiter()
    holders = range(int(everywhere.total_tokens))
    for holder in holders:
        everywhere.acquire_on_behalf_of_nowait(holder)
    try:
        yield
    finally:
        for holder in holders:
            everywhere.release_on_behalf_of(holder)
