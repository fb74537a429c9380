"""Ordered collections of remote objects, with pages that cost only what they show."""

from bisect import bisect_left
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from orchestrator.sandbox.wire import Fields


@dataclass(kw_only=True, slots=True)
class Item:
    """A remote object: what the client sent, and when things happened to it (seconds since 1970)."""

    id: str
    kind: str  # fine_tune | dataset
    provider: str
    account: str
    fields: Fields
    created: float
    seq: int = 0  # the place in its shelf, given by `Shelf.add`
    started: float | None = None  # when training began to be due; None rests in the first status
    omens: tuple[str, ...] = ()  # which of fail-me, stuck-me, odd-me the request held
    forced: str | None = None  # a status that was set by hand or by stop, since `forced_at`
    forced_at: float = 0.0
    extra: Fields = field(default_factory=dict)  # uploaded files and the like
    exists_from: float = 0.0  # a request that is applied late: not even a get finds it before
    listed_from: float = 0.0
    listed_until: float | None = None

    def exists(self, now: float) -> bool:
        """Tell whether the provider knows it yet."""
        return now >= self.exists_from

    def listed(self, now: float) -> bool:
        """Tell whether a list shows it."""
        late = max(self.exists_from, self.listed_from)
        return now >= late and (self.listed_until is None or now < self.listed_until)

    def veiled(self) -> bool:
        """Tell whether time plays a part in what lists show of it."""
        return self.exists_from > 0 or self.listed_from > 0 or self.listed_until is not None

    def record(self) -> Fields:
        """Give it as JSON for the journal."""
        return {name: getattr(self, name) for name in self.__slots__}


def restore(record: Fields) -> Item:
    """Build an item from its journal record."""
    return Item(**{**record, "omens": tuple(record["omens"])})


class Shelf:
    """The objects of one kind in one account, oldest first."""

    def __init__(self) -> None:
        self.items: list[Item] = []
        self._index: dict[str, Item] = {}
        self._veiled: set[str] = set()
        self._next = 1

    def put(self, item: Item) -> None:
        """Add an item, or put a changed one in its old place."""
        old = self._index.get(item.id)
        if old is None:
            item.seq = item.seq or self._next
            self._next = max(self._next, item.seq) + 1
            self.items.append(item)
        elif old is not item:
            self.items[self._place(old.seq)] = item
        self._index[item.id] = item
        (self._veiled.add if item.veiled() else self._veiled.discard)(item.id)

    def remove(self, item_id: str) -> None:
        """Forget an item."""
        item = self._index.pop(item_id)
        self._veiled.discard(item_id)
        del self.items[self._place(item.seq)]

    def find(self, item_id: str, now: float) -> Item | None:
        """Give the item, unless the provider does not know it (yet)."""
        item = self._index.get(item_id)
        return item if item is not None and item.exists(now) else None

    def count(self, now: float) -> int:
        """Tell how many a complete list would show."""
        return len(self.items) - sum(not self._index[item_id].listed(now) for item_id in self._veiled)

    def walk(
        self,
        now: float,
        *,
        newest: bool,
        after: int | None = None,
        skip: int = 0,
        keep: Callable[[Item], bool] | None = None,
    ) -> Iterator[Item]:
        """Give the listed items in order, from behind the place `after` (a seq) or after `skip` of them."""
        step = -1 if newest else 1
        place = len(self.items) - 1 if newest else 0
        if after is not None:
            found = self._place(after)
            at_it = found < len(self.items) and self.items[found].seq == after
            place = found - 1 if newest else found + at_it
        if keep is None and not self._veiled:  # then a deep page needs no walk through the earlier ones
            place, skip = place + step * skip, 0
        while 0 <= place < len(self.items):
            item = self.items[place]
            place += step
            hidden = item.id in self._veiled and not item.listed(now)
            if hidden or (keep is not None and not keep(item)):
                continue
            if skip:
                skip -= 1
                continue
            yield item

    def _place(self, seq: int) -> int:
        return bisect_left(self.items, seq, key=lambda item: item.seq)
