"""Faults of the provider's state: applied late or twice, listed late, hidden, pages that never end."""

import json
import uuid
from collections.abc import Callable, Iterator, Mapping

from orchestrator.sandbox.fault import CREATES, LISTS, Answer, End, Fault
from orchestrator.sandbox.shelf import Item
from orchestrator.sandbox.wire import Call, Fields

_CURSORS = frozenset(("starting_after", "ending_before", "page_token", "page", "offset"))
_LISTS = ("data", "fine_tunes", "finetuned_models", "datasets", "result", "events", "step_metrics")
_SAME_TOKEN = "YWZ0ZXI6MQ=="  # noqa: S105 - a page token is no secret
_SOME_DATE = "2026-01-01T00:00:00.000000Z"


def _drop(_: Answer, __: Fields) -> Iterator[bytes | float | End]:
    yield End.CLOSE


def _applied_late(item: Item, now: float, options: Fields) -> None:
    item.exists_from = item.created = now + float(options["seconds"])
    if item.started is not None:
        item.started = item.created


def _listed_late(item: Item, now: float, options: Fields) -> None:
    item.listed_from = now + float(options["seconds"])


def _hidden(item: Item, now: float, options: Fields) -> None:
    item.listed_until = now + float(options["seconds"])


def _alter_name(call: Call, options: Fields) -> None:
    fields = call.document()
    for key in ("name", "description"):
        if isinstance(fields.get(key), str):
            fields[key] = fields[key].upper()[: int(options["length"])]
    call.body = json.dumps(fields).encode()


def _first_page(call: Call, _: Fields) -> None:
    call.query = [(key, value) for key, value in call.query if key not in _CURSORS]


def _twice(document: Fields, _: Call, __: int) -> None:
    shown = _list_in(document)
    if shown:
        shown.append(dict(shown[0]))


def _go_on(document: Fields, _: Call, __: int) -> None:
    if "has_more" in document:
        document["has_more"] = True
    if "finetuned_models" in document:
        document["next_page_token"] = _SAME_TOKEN


def _endless(document: Fields, call: Call, limit: int) -> None:
    shown = _list_in(document)
    while len(shown) < limit:
        shown.append(dict(shown[0] if shown else _INVENTED))
    for row in shown:
        row["id"] = str(uuid.uuid4())
    if "has_more" in document:
        document["has_more"] = True
    if "finetuned_models" in document:
        document["next_page_token"] = str(uuid.uuid4())


def _shrink(document: Fields, call: Call, _: int) -> None:
    # As if an object of an earlier page had gone meanwhile: the first of this page slipped back there.
    first = all(key not in _CURSORS or (key, value) == ("page", "1") for key, value in call.query)
    shown = _list_in(document)
    if shown and not first:
        del shown[0]


def _list_in(document: Fields) -> list[Fields]:
    return next((document[key] for key in _LISTS if isinstance(document.get(key), list)), [])


# One row with every field any provider's list shows, for endless pages of an empty account.
_INVENTED: Mapping[str, object] = {
    **dict.fromkeys(
        ("name", "description", "language", "model_id", "dataset", "base_model", "model"), "invented"
    ),
    **dict.fromkeys(("created_at", "updated_at", "modified_at"), _SOME_DATE),
    "public": False,
    "status": "completed",
    "settings": {"base_model": {"base_type": "BASE_TYPE_CHAT"}, "dataset_id": "invented"},
}


def _create(text: str, seconds: float, veil: Callable[[Item, float, Fields], None]) -> Fault:
    return Fault(text, CREATES, True, {"seconds": seconds}, veil=veil)


STATE_FAULTS: Mapping[str, Fault] = {
    "applied_late": Fault(
        "closed with no answer; the object comes to exist `seconds` later",
        CREATES,
        True,
        {"seconds": 60.0},
        _drop,
        veil=_applied_late,
    ),
    "listed_late": _create("done, but lists show the object only after `seconds`", 60.0, _listed_late),
    "listed_then_hidden": _create("done, but lists leave the object out after `seconds`", 60.0, _hidden),
    "doubled": Fault("applied twice; one answer", CREATES | {"change"}, True, doubled=True),
    "name_altered": Fault(
        "done, with name and description in capitals and cut to `length`",
        CREATES,
        True,
        {"length": 16},
        tune=_alter_name,
    ),
    "listed_twice": Fault("the page shows its first object twice", LISTS, True, reshape=_twice),
    "repeated_cursor": Fault(
        "the first page again, whatever the cursor, and more to come",
        LISTS,
        True,
        tune=_first_page,
        reshape=_go_on,
    ),
    "endless_pages": Fault(
        "full pages of invented objects for ever", LISTS, True, tune=_first_page, reshape=_endless
    ),
    "shrinking": Fault("a later page misses its first object", LISTS, True, reshape=_shrink),
}
