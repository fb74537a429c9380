"""Reading a listing page by page."""

from collections.abc import AsyncIterator, Callable
from typing import Final

from orchestrator.errors import Misread
from orchestrator.providers.base import Page, Provider

PAGE_CAP: Final = 2_000
LISTED_CAP: Final = 250_000


async def pages(
    provider: Provider, *, stop: Callable[[Page], bool] | None = None, most: int = PAGE_CAP
) -> AsyncIterator[Page]:
    """Read a listing page by page, to its end or until `stop` returns True.

    It is complete only if `stop` did not end it. A listing that repeats itself or never ends raises
    `Misread`.
    """
    cursors: set[str] = set()
    shown: set[int] = set()  # one number for each page, since a hundred thousand ids would take much memory
    count = 0
    cursor: str | None = None
    for _ in range(most):
        page = await provider.list(cursor)
        known = len(shown)
        shown.add(hash(frozenset(item.remote_id for item in page.items)))
        count += len(page.items)
        yield page
        if page.next is None or (stop is not None and stop(page)):
            return
        if page.next in cursors or len(shown) == known or not page.items:
            raise Misread("the listing repeats itself")
        if count > LISTED_CAP:
            break
        cursors.add(page.next)
        cursor = page.next
    raise Misread("the listing does not end")
