"""What every handler works on: the objects, the clock, and the ledger of what was done."""

import uuid
from collections import Counter, deque
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from orchestrator.sandbox.clock import Clock
from orchestrator.sandbox.course import Course, omens_in
from orchestrator.sandbox.journal import Journal, masked
from orchestrator.sandbox.options import Options
from orchestrator.sandbox.shelf import Item, Shelf, restore
from orchestrator.sandbox.wire import Call, Fields, Refusal

KEPT_REQUESTS = 20_000  # in memory; the file keeps all of them


class Desk:
    """The whole state of a sandbox; changes are gathered and become durable with `enter`."""

    def __init__(self, options: Options, state: Path | None = None) -> None:
        self.options, self.clock = options, Clock(options.clock)
        self.requests: deque[Fields] = deque(maxlen=KEPT_REQUESTS)
        self.created: dict[str, list[Fields]] = {}
        self.paid: dict[str, list[str]] = {}
        self.counts: dict[str, Counter[str]] = {}
        self._shelves: dict[tuple[str, str, str], Shelf] = {}
        self._pending: dict[str, list[Any]] = {"created": [], "paid": [], "changes": []}
        self._seq = 0
        self._journal = Journal(state)
        for line in self._journal.replay():
            self._redo(line)

    def shelf(self, provider: str, account: str, kind: str = "fine_tune") -> Shelf:
        """Give the collection of one account; an unknown account has an empty one."""
        return self._shelves.setdefault((provider, kind, account), Shelf())

    def shelves(self, provider: str, kind: str = "fine_tune") -> Iterable[tuple[str, Shelf]]:
        """Give the accounts of a provider with their collections."""
        return [(key[2], shelf) for key, shelf in self._shelves.items() if key[:2] == (provider, kind)]

    def find(self, call: Call, item_id: str, kind: str = "fine_tune") -> Item:
        """Give one object of the caller's account, or refuse with 404."""
        item = self.shelf(call.provider, call.account, kind).find(item_id, self.clock.now())
        if item is None:
            raise Refusal(404, f"{kind.replace('_', '-')} {item_id} not found", "not_found")
        return item

    def make(self, call: Call, fields: Fields, *, item_id: str = "", kind: str = "fine_tune") -> Item:
        """Keep a new object; a fine-tune is entered in the ledger as created."""
        now = self.clock.now()
        item = Item(
            id=item_id or str(uuid.uuid4()),
            kind=kind,
            provider=call.provider,
            account=call.account,
            fields=fields,
            created=now,
            started=now,
            omens=omens_in(fields),
        )
        self.put(item)
        if kind == "fine_tune":
            self._pending["created"].append(
                {"id": item.id, "account": item.account, "at": now, **masked(fields)}
            )
        return item

    def put(self, item: Item) -> None:
        """Keep a new or changed object."""
        self.shelf(item.provider, item.account, item.kind).put(item)
        self._pending["changes"].append(["put", item])

    def remove(self, item: Item) -> None:
        """Forget an object."""
        self.shelf(item.provider, item.account, item.kind).remove(item.id)
        self._pending["changes"].append(["remove", [item.provider, item.kind, item.account, item.id]])

    def pay(self, item: Item) -> None:
        """Enter in the ledger that the provider now charges for the object."""
        self._pending["paid"].append(item.id)

    def history(self, course: Course, item: Item) -> list[tuple[str, float]]:
        """List the words a job has passed through, with their times."""
        return course.history(item, self.clock.now(), self.options.stage_seconds)

    def fresh(self) -> list[Item]:
        """Give the fine-tunes made since the last entry, for faults that change how they show."""
        changes = self._pending["changes"]
        ids = {made["id"] for made in self._pending["created"]}
        return [item for what, item in changes if what == "put" and item.id in ids]

    def unmention(self) -> None:
        """Leave what was just made out of the ledger: no client asked for it."""
        self._pending.update(created=[], paid=[])

    def enter(self, entry: Fields) -> None:
        """Write a request and all it changed as one line: after a crash either all of it holds or nothing."""
        self._seq += 1
        line = {"seq": self._seq, "at": self.clock.now(), **entry}
        line.update({key: self._pending[key] for key in ("created", "paid") if self._pending[key]})
        if self._journal.kept:
            self._journal.append({**line, "changes": self._changes()})
        self._count(line)
        self._pending = {"created": [], "paid": [], "changes": []}

    def _changes(self) -> list[Any]:
        # An item is recorded as it stands now, once, however often the request changed it.
        items = {id(value): value for what, value in self._pending["changes"] if what == "put"}
        removals = [change for change in self._pending["changes"] if change[0] == "remove"]
        return [*(["put", item.record()] for item in items.values()), *removals]

    def close(self) -> None:
        """Let go of the file."""
        self._journal.close()

    def _count(self, line: Fields) -> None:
        provider = line.get("provider")
        if provider is None:
            return
        self.created.setdefault(provider, []).extend(line.get("created", ()))
        self.paid.setdefault(provider, []).extend(line.get("paid", ()))
        counts = self.counts.setdefault(provider, Counter())
        counts.update(created=len(line.get("created", ())), paid=len(line.get("paid", ())))
        if "outcome" in line:
            counts.update(["requests", line["outcome"]])
            shown = {key: value for key, value in line.items() if key != "changes"}
            self.requests.append(masked(shown))

    def _redo(self, line: Fields) -> None:
        self._seq = line["seq"]
        self.clock.resume(line["at"])
        for what, value in line.get("changes", ()):
            if what == "put":
                item = restore(value)
                self.shelf(item.provider, item.account, item.kind).put(item)
            else:
                provider, kind, account, item_id = value
                self.shelf(provider, account, kind).remove(item_id)
        self._count(line)
