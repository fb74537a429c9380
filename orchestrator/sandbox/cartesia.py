"""Cartesia, after docs.cartesia.ai and its specification of 2026-03-01, read in November 2026."""

import uuid
from collections.abc import Mapping
from typing import Any

from orchestrator.sandbox.check import Field, bearer, check_object, read_query, text, whole
from orchestrator.sandbox.clock import stamp
from orchestrator.sandbox.course import Course
from orchestrator.sandbox.desk import Desk
from orchestrator.sandbox.provider import Provider, Route
from orchestrator.sandbox.shelf import Item
from orchestrator.sandbox.wire import Call, Fields, Refusal, Reply

VERSION = "2026-03-01"
COURSE = Course(work=("created", "training"), done=("completed",), failed="failed")
_NEW: Mapping[str, Field] = {
    name: Field(required=True) for name in ("name", "description", "language", "model_id", "dataset")
}
_DATASET: Mapping[str, Field] = {"name": Field(required=True), "description": Field(required=True)}
_CURSORS = {"limit": whole(1, 100), "starting_after": text, "ending_before": text}


def admit(call: Call) -> str:
    """Check key and version: the header must be there once, with the only value the specification allows."""
    account = bearer(call)
    versions = call.header("cartesia-version")
    if len(versions) != 1 or versions[0] != VERSION:
        raise Refusal(
            400, f"Cartesia-Version must be sent once, as {VERSION}; got {versions}", "invalid_version"
        )
    return account


def complain(refusal: Refusal) -> Reply:
    """Word a refusal as version 2026-03-01 does."""
    title = {401: "Unauthorized", 403: "Forbidden", 404: "Not found"}.get(refusal.status, "Invalid request")
    body = {
        "error_code": refusal.code,
        "title": title,
        "message": refusal.reason,
        "request_id": str(uuid.uuid4()),
    }
    return Reply(status=refusal.status, document=body)


def show(desk: Desk, item: Item) -> Fields:
    """Give a FineTune."""
    return {"id": item.id, **item.fields, "status": desk.history(COURSE, item)[-1][0]}


def create(desk: Desk, call: Call) -> Reply:
    """Queue a training, which is what Cartesia charges for."""
    read_query(call, {})
    fields = call.document()
    check_object(fields, _NEW)
    item = desk.make(call, fields, item_id=f"ft_{uuid.uuid4().hex}")
    desk.pay(item)
    return Reply(document=show(desk, item))


def get(desk: Desk, call: Call) -> Reply:
    """Give one fine-tune."""
    read_query(call, {})
    return Reply(document=show(desk, desk.find(call, call.args["id"])))


def listing(desk: Desk, call: Call) -> Reply:
    """Give one page of the account's fine-tunes."""
    return _page(desk, call, "fine_tune")


def delete(desk: Desk, call: Call) -> Reply:
    """Delete a fine-tune; the body of the answer is empty."""
    read_query(call, {})
    desk.remove(desk.find(call, call.args["id"]))
    return Reply(empty=True)


def voices(desk: Desk, call: Call) -> Reply:
    """Give the four voices of a completed training; before that there are none."""
    item = desk.find(call, call.args["id"])
    done = desk.history(COURSE, item)[-1][0] in COURSE.done
    made = [_voice(item, nr) for nr in range(4)] if done else []
    return Reply(document=_cut(made, read_query(call, _CURSORS), desk.options.cartesia_page))


def _voice(item: Item, nr: int) -> Fields:
    voice_id = uuid.uuid5(uuid.NAMESPACE_URL, f"{item.id}/{nr}")
    return {
        "id": str(voice_id),
        "name": f"{item.fields['name']} {nr + 1}",
        "description": item.fields["description"],
        "language": item.fields["language"],
        "created_at": stamp(item.created),
        "is_owner": True,
        "is_public": False,
    }


def dataset_create(desk: Desk, call: Call) -> Reply:
    """Make an empty dataset."""
    read_query(call, {})
    fields = call.document()
    check_object(fields, _DATASET)
    item = desk.make(call, fields, item_id=f"ds_{uuid.uuid4().hex}", kind="dataset")
    return Reply(document=_dataset(desk, item))


def dataset_get(desk: Desk, call: Call) -> Reply:
    """Give one dataset."""
    read_query(call, {})
    return Reply(document=_dataset(desk, desk.find(call, call.args["id"], "dataset")))


def dataset_list(desk: Desk, call: Call) -> Reply:
    """Give one page of datasets."""
    return _page(desk, call, "dataset")


def dataset_update(desk: Desk, call: Call) -> Reply:
    """Change a dataset's name and description; both must be sent."""
    read_query(call, {})
    item = desk.find(call, call.args["id"], "dataset")
    fields = call.document()
    check_object(fields, _DATASET)
    item.fields.update(fields)
    desk.put(item)
    return Reply(document=_dataset(desk, item))


def dataset_delete(desk: Desk, call: Call) -> Reply:
    """Delete a dataset with its files."""
    read_query(call, {})
    desk.remove(desk.find(call, call.args["id"], "dataset"))
    return Reply(empty=True)


def upload(desk: Desk, call: Call) -> Reply:
    """Add a file; the answer is 204 and names no id."""
    read_query(call, {})
    item = desk.find(call, call.args["id"], "dataset")
    parts = call.parts()
    if set(parts) != {"purpose", "file"}:
        raise Refusal(400, f"the form must hold purpose and file, not {sorted(parts)}")
    if parts["purpose"].content != b"fine_tune":
        raise Refusal(400, "purpose must be fine_tune")
    file = parts["file"]
    if not file.filename or not file.content:
        raise Refusal(400, "file must have a name and content")
    kept = {"id": f"file_{uuid.uuid4().hex}", "filename": file.filename, "size": len(file.content)}
    item.extra.setdefault("files", []).append({**kept, "created_at": stamp(desk.clock.now())})
    desk.put(item)
    return Reply(status=204, empty=True)


def file_list(desk: Desk, call: Call) -> Reply:
    """Give one page of a dataset's files."""
    item = desk.find(call, call.args["id"], "dataset")
    return Reply(
        document=_cut(item.extra.get("files", []), read_query(call, _CURSORS), desk.options.cartesia_page)
    )


def file_delete(desk: Desk, call: Call) -> Reply:
    """Delete one file of a dataset."""
    read_query(call, {})
    item = desk.find(call, call.args["id"], "dataset")
    files = item.extra.get("files", [])
    kept = [file for file in files if file["id"] != call.args["file_id"]]
    if len(kept) == len(files):
        raise Refusal(404, f"file {call.args['file_id']} not found", "not_found")
    item.extra["files"] = kept
    desk.put(item)
    return Reply(empty=True)


def _dataset(_: Desk, item: Item) -> Fields:
    return {"id": item.id, **item.fields, "created_at": stamp(item.created)}


def _page(desk: Desk, call: Call, kind: str) -> Reply:
    query = read_query(call, _CURSORS)
    limit = query.get("limit", desk.options.cartesia_page)
    after, backward = _cursor(query)
    newest = (desk.options.cartesia_order == "newest") != backward
    now = desk.clock.now()
    shelf = desk.shelf("cartesia", call.account, kind)
    seq = None
    if after is not None:
        found = shelf.find(after, now)
        if found is None:
            raise Refusal(400, f"the cursor {after} is not known", "invalid_cursor")
        seq = found.seq
    page: list[Item] = []
    more = False
    for item in shelf.walk(now, newest=newest, after=seq):
        if len(page) == limit:
            more = True
            break
        page.append(item)
    if backward:
        page.reverse()
    shape = show if kind == "fine_tune" else _dataset
    return Reply(document={"data": [shape(desk, item) for item in page], "has_more": more})


def _cursor(query: Fields) -> tuple[str | None, bool]:
    if "starting_after" in query and "ending_before" in query:
        raise Refusal(400, "starting_after and ending_before exclude each other")
    return query.get("starting_after", query.get("ending_before")), "ending_before" in query


def _cut(rows: list[Any], query: Fields, default: int) -> Fields:
    limit = query.get("limit", default)
    cursor, backward = _cursor(query)
    if cursor is not None:
        ids = [row["id"] for row in rows]
        if cursor not in ids:
            raise Refusal(400, f"the cursor {cursor} is not known", "invalid_cursor")
        place = ids.index(cursor)
        rows = rows[:place] if backward else rows[place + 1 :]
    shown = rows[-limit:] if backward else rows[:limit]
    return {"data": shown, "has_more": len(rows) > limit}


def seed(desk: Desk, call: Call, fields: Fields) -> Item:
    """Make a fine-tune with no request."""
    standard = {
        "name": "",
        "description": "",
        "language": "en",
        "model_id": "sonic-3-2026-01-12",
        "dataset": "ds_1",
    }
    return desk.make(call, {**standard, **fields}, item_id=f"ft_{uuid.uuid4().hex}")


def limit(call: Call) -> int:
    """Tell how long a page of this request is."""
    return int(dict(call.query).get("limit", "10"))


CARTESIA = Provider(
    name="cartesia",
    prefix="/cartesia",
    routes=(
        Route("POST", "/fine-tunes/", "create", create),
        Route("GET", "/fine-tunes/", "list", listing),
        Route("GET", "/fine-tunes/{id}", "get", get),
        Route("DELETE", "/fine-tunes/{id}", "delete", delete),
        Route("GET", "/fine-tunes/{id}/voices", "voices", voices),
        Route("POST", "/datasets/", "dataset_create", dataset_create),
        Route("GET", "/datasets/", "dataset_list", dataset_list),
        Route("GET", "/datasets/{id}", "dataset_get", dataset_get),
        Route("PATCH", "/datasets/{id}", "dataset_update", dataset_update),
        Route("DELETE", "/datasets/{id}", "dataset_delete", dataset_delete),
        Route("POST", "/datasets/{id}/files", "upload", upload),
        Route("GET", "/datasets/{id}/files", "file_list", file_list),
        Route("DELETE", "/datasets/{id}/files/{file_id}", "file_delete", file_delete),
    ),
    admit=admit,
    complain=complain,
    seed=seed,
    limit=limit,
)
