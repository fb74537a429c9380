"""What a fault is: data and small functions that the server plays in order."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum

from orchestrator.sandbox.shelf import Item
from orchestrator.sandbox.wire import Call, Fields


class End(Enum):
    """How a spoilt connection ends."""

    CLOSE = "close"
    RESET = "reset"
    HANG = "hang"  # until the client gives up, 120 s at most


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """An answer in bytes; the framing headers are added when it is sent."""

    status: int
    body: bytes
    headers: tuple[tuple[str, str], ...] = (("content-type", "application/json"),)


Script = Callable[[Answer, Fields], Iterator[bytes | float | End]]

EVERYWHERE = frozenset({"create", "read", "list", "change"})
CREATES = frozenset({"create"})
LISTS = frozenset({"list"})
SHOWS = frozenset({"create", "read", "list"})


@dataclass(frozen=True, slots=True)
class Fault:
    """One kind of fault: where it can occur, whether the request is applied, and how it is played."""

    text: str
    on: frozenset[str]
    applied: bool
    options: Mapping[str, object] = field(default_factory=dict)  # names and defaults
    script: Script | None = None  # bytes, pauses in seconds and an end, instead of an HTTP answer
    spoil: Callable[[Answer, Fields, Call], Answer] | None = None  # changes the answer's bytes
    tune: Callable[[Call, Fields], None] | None = None  # changes the request before it is applied
    veil: Callable[[Item, float, Fields], None] | None = None  # changes when a new object shows
    reshape: Callable[[Fields, Call, int], None] | None = None  # changes the document of a list
    doubled: bool = False  # the request is applied twice
    early: bool = False  # played once the head of the request is read, its body left where it is


_CLASSES: Mapping[str, str] = {
    "create": "create",
    **dict.fromkeys(
        ("list", "public_list", "dataset_list", "file_list", "voices", "events", "metrics"),
        "list",
    ),
    **dict.fromkeys(("get", "dataset_get", "usage", "logs", "checkpoints", "train_status"), "read"),
}


def operation_class(operation: str) -> str:
    """Say whether an operation is a create, a read, a list, or another change."""
    return _CLASSES.get(operation, "change")
