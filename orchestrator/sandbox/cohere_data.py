"""Cohere's datasets, after its API specification, read in November 2026."""

from typing import Any

from orchestrator.sandbox.check import one_of, read_query, text, whole
from orchestrator.sandbox.clock import stamp
from orchestrator.sandbox.desk import Desk
from orchestrator.sandbox.shelf import Item
from orchestrator.sandbox.wire import Call, Fields, Refusal, Reply

_TYPES = (
    "embed-input",
    "chat-finetune-input",
    "reranker-finetune-input",
    "single-label-classification-finetune-input",
    "multi-label-classification-finetune-input",
)


def sparse(value: Any) -> Any:
    """Leave out zeros, empty texts and false, as proto style does; an empty list stays."""
    if isinstance(value, dict):
        kept = {key: sparse(inner) for key, inner in value.items()}
        return {key: inner for key, inner in kept.items() if isinstance(inner, list | dict) or inner}
    return [sparse(inner) for inner in value] if isinstance(value, list) else value


def dataset_create(desk: Desk, call: Call) -> Reply:
    """Take a dataset; its name and type stand in the query."""
    flag = one_of("true", "false")
    readers = {"keep_original_file": flag, "skip_malformed_input": flag, "keep_fields": text}
    readers |= {"optional_fields": text, "text_separator": text, "csv_delimiter": text}
    query = read_query(call, {"name": text, "type": one_of(*_TYPES), **readers})
    if "name" not in query or "type" not in query:
        raise Refusal(400, "name and type are needed in the query")
    if len(query["name"]) >= 50:
        raise Refusal(400, "name must be shorter than 50 characters")
    parts = call.parts()
    if "data" not in parts or set(parts) - {"data", "eval_data"} or not parts["data"].content:
        raise Refusal(400, "the form must hold data, and may hold eval_data")
    files = [part.summary() for part in parts.values()]
    item = desk.make(call, {"name": query["name"], "dataset_type": query["type"]}, kind="dataset")
    item.extra["files"] = files
    desk.put(item)
    return Reply(document={"id": item.id})


def _dataset(desk: Desk, item: Item) -> Fields:
    stage = desk.options.stage_seconds
    age = desk.clock.now() - item.created
    words = ("queued", "processing", "failed" if "fail-me" in item.omens else "validated")
    word = words[min(2, int(age / stage))] if stage else words[2]
    times = {"created_at": stamp(item.created), "updated_at": stamp(item.created)}
    shown = {"id": item.id, **item.fields, **times, "validation_status": word, "schema": ""}
    error = {"validation_error": "row 3: missing field messages"} if word == "failed" else {}
    parts = [
        {"id": f"{item.id}-{nr}", "name": file["filename"] or file["field"], "size_bytes": file["size"]}
        for nr, file in enumerate(item.extra["files"])
    ]
    row: Fields = sparse({**shown, **error, "dataset_parts": parts})
    return row


def dataset_get(desk: Desk, call: Call) -> Reply:
    """Give one dataset with the state of its validation."""
    read_query(call, {})
    return Reply(document={"dataset": _dataset(desk, desk.find(call, call.args["id"], "dataset"))})


def dataset_list(desk: Desk, call: Call) -> Reply:
    """Give the datasets that match the query."""
    readers = {"datasetType": text, "before": text, "after": text, "validationStatus": text}
    query = read_query(call, {**readers, "limit": whole(1, 1000), "offset": whole(0, 1_000_000)})
    walk = desk.shelf("cohere", call.account, "dataset").walk(desk.clock.now(), newest=True)
    rows = [row for row in (_dataset(desk, item) for item in walk) if _wanted(row, query)]
    start = query.get("offset", 0)
    return Reply(document={"datasets": rows[start : start + query.get("limit", 100)]})


def _wanted(row: Fields, query: Fields) -> bool:
    return bool(
        query.get("datasetType", row["dataset_type"]) == row["dataset_type"]
        and query.get("validationStatus", row["validation_status"]) == row["validation_status"]
        and query.get("after", "") <= row["created_at"] < query.get("before", "9")
    )


def dataset_delete(desk: Desk, call: Call) -> Reply:
    """Delete a dataset."""
    read_query(call, {})
    desk.remove(desk.find(call, call.args["id"], "dataset"))
    return Reply(document={})


def usage(desk: Desk, call: Call) -> Reply:
    """Give the bytes that all datasets take."""
    read_query(call, {})
    items = desk.shelf("cohere", call.account, "dataset").items
    used = sum(file["size"] for item in items for file in item.extra["files"])
    return Reply(document=sparse({"organization_usage": used}))
