"""Oxen's fine-tunes, after docs.oxen.ai and its specification 0.224.2, read in November 2026."""

from collections.abc import Callable, Mapping

from orchestrator.sandbox.check import Field, bearer, check_object, no_body, one_of, read_query, text, whole
from orchestrator.sandbox.clock import stamp
from orchestrator.sandbox.desk import Desk
from orchestrator.sandbox.oxen_files import branch, branch_create, branches, metadata, upload
from orchestrator.sandbox.oxen_show import COURSE, full, short, word
from orchestrator.sandbox.provider import Provider, Route
from orchestrator.sandbox.shelf import Item, Shelf
from orchestrator.sandbox.wire import Call, Fields, Refusal, Reply

SCRIPT_TYPES = (
    "text_generation",
    "text_chat_messages",
    "image_generation",
    "image_editing",
    "image_to_text",
    "image_to_video",
    "text_to_video",
    "multi_image_editing",
)
_PARAMS: Mapping[str, Field] = {
    **dict.fromkeys(
        (
            "batch_size",
            "gradient_accumulation",
            "lora_alpha",
            "lora_rank",
            "sample_every",
            "samples",
            "steps",
        ),
        Field(kind="integer"),
    ),
    **dict.fromkeys(("caption_column", "image_column", "timestep_type"), Field()),
    "learning_rate": Field(kind="number"),
    "use_lora": Field(kind="boolean"),
}
_NEW: Mapping[str, Field] = {
    "resource": Field(required=True),
    "base_model": Field(required=True),
    "script_type": Field(required=True, choices=SCRIPT_TYPES),
    "training_params": Field(kind="object", fields=_PARAMS, open=True),
    "is_public": Field(kind="boolean"),
    "oxen_model_path": Field(nullable=True),
}
_CHANGES: Mapping[str, Field] = {
    **{name: Field(kind=field.kind, fields=field.fields, open=field.open) for name, field in _NEW.items()},
    "name": Field(),
    "display_name": Field(),
    "description": Field(),
}
_CODES: Mapping[int, str] = {400: "bad_request", 404: "resource_not_found"}
_LIST = {
    "page": whole(1, 1_000_000),
    "page_size": whole(1, 100),
    "search": text,
    "status": text,
    "created_by": text,
    "sort": one_of("newest", "oldest"),
}


def admit(call: Call) -> str:
    """Check the key; the account is the repository, else the key's own user."""
    user = bearer(call)
    if "repo" in call.args:
        return f"{call.args['namespace']}/{call.args['repo']}"
    return user


def complain(refusal: Refusal) -> Reply:
    """Word a refusal in Oxen's envelope: the server's `status_message` is a code, the words are `detail`."""
    code = _CODES.get(refusal.status, refusal.code)
    error = {"type": code, "title": code.replace("_", " ").capitalize(), "detail": refusal.reason}
    document = {"status": "error", "status_message": code, "error": error}
    return Reply(status=refusal.status, document=document)


def _envelope(fine_tune: Fields, status: int = 200) -> Reply:
    document = {"status": "success", "status_message": "resource_found", "fine_tune": fine_tune}
    return Reply(status=status, document=document)


def create(desk: Desk, call: Call) -> Reply:
    """Make a draft, which costs nothing and rests until it is run."""
    read_query(call, {})
    fields = call.document()
    check_object(fields, _NEW)
    item = desk.make(call, fields)
    item.started = None
    item.extra["created_by"] = bearer(call)
    desk.put(item)
    return _envelope(short(desk, item), 201)


def run(desk: Desk, call: Call) -> Reply:
    """Start the training, which is what Oxen charges for; only a job that was not run yet takes it."""
    read_query(call, {})
    no_body(call)
    item = desk.find(call, call.args["id"])
    if item.started is not None or word(desk, item) not in ("created", "tokenizing"):
        raise Refusal(400, f"a job that is {word(desk, item)} cannot be run", "invalid_state")
    item.started, item.forced = desk.clock.now(), None
    desk.put(item)
    desk.pay(item)
    return _envelope(full(desk, item))


def stop(desk: Desk, call: Call) -> Reply:
    """Stop a job that is queued or running."""
    read_query(call, {})
    no_body(call)
    item = desk.find(call, call.args["id"])
    if item.started is None or word(desk, item) not in COURSE.work:
        raise Refusal(400, f"a job that is {word(desk, item)} cannot be stopped", "invalid_state")
    item.forced, item.forced_at = "stopped", desk.clock.now()
    desk.put(item)
    return _envelope(full(desk, item))


def tokenize(desk: Desk, call: Call) -> Reply:
    """Prepare a draft; it can still be run, and still costs nothing."""
    read_query(call, {})
    no_body(call)
    item = desk.find(call, call.args["id"])
    if word(desk, item) != "created":
        raise Refusal(400, f"a job that is {word(desk, item)} cannot be tokenized", "invalid_state")
    item.forced, item.forced_at = "tokenizing", desk.clock.now()
    desk.put(item)
    return _envelope(full(desk, item))


def get(desk: Desk, call: Call) -> Reply:
    """Give one job in full."""
    read_query(call, {})
    return _envelope(full(desk, desk.find(call, call.args["id"])))


def update(desk: Desk, call: Call) -> Reply:
    """Change any of a job's fields."""
    read_query(call, {})
    item = desk.find(call, call.args["id"])
    fields = call.document()
    check_object(fields, _CHANGES)
    for name, value in fields.items():
        (item.fields if name in _NEW else item.extra)[name] = value
    desk.put(item)
    return _envelope(full(desk, item))


def delete(desk: Desk, call: Call) -> Reply:
    """Delete a job; the answer shows what it was."""
    read_query(call, {})
    item = desk.find(call, call.args["id"])
    shown = full(desk, item)
    desk.remove(item)
    return _envelope(shown)


def listing(desk: Desk, call: Call) -> Reply:
    """Give one page of a repository's jobs."""
    return _page(desk, call, [desk.shelf("oxen", call.account)])


def listing_wide(desk: Desk, call: Call) -> Reply:
    """Give one page of the jobs of a user or an organisation, over all its repositories."""
    owner = call.args.get("owner")
    found = [shelf for name, shelf in desk.shelves("oxen") if owner in (None, name.partition("/")[0])]
    if owner is not None and not found:
        raise Refusal(404, f"{owner} not found", "not_found")
    return _page(desk, call, found)


def _page(desk: Desk, call: Call, shelves: list[Shelf]) -> Reply:
    query = read_query(call, _LIST)
    size, newest = query.get("page_size", desk.options.oxen_page), query.get("sort") != "oldest"
    skip, keep, now = (query.get("page", 1) - 1) * size, _filter(desk, query), desk.clock.now()
    if len(shelves) == 1:
        walk = shelves[0].walk(now, newest=newest, skip=skip, keep=keep)
        items = [item for item, _ in zip(walk, range(size), strict=False)]
    else:
        every = [item for shelf in shelves for item in shelf.walk(now, newest=newest, keep=keep)]
        every.sort(key=lambda item: item.created, reverse=newest)
        items = every[skip : skip + size]
    rows = [short(desk, item) for item in items]
    return Reply(document={"status": "success", "status_message": "resource_found", "fine_tunes": rows})


def _filter(desk: Desk, query: Fields) -> Callable[[Item], bool] | None:
    wanted = {name: query[name] for name in ("search", "status", "created_by") if name in query}
    if not wanted:
        return None

    def keep(item: Item) -> bool:
        where = f"{short(desk, item)['name']} {item.fields['base_model']} {item.account}".lower()
        return (
            wanted.get("search", "").lower() in where
            and wanted.get("status", word(desk, item)) == word(desk, item)
            and wanted.get("created_by", item.extra.get("created_by")) == item.extra.get("created_by")
        )

    return keep


def logs(desk: Desk, call: Call) -> Reply:
    """Give the lines a training has written."""
    read_query(call, {})
    past = desk.history(COURSE, desk.find(call, call.args["id"]))
    lines = [f"{stamp(at)} {name}" for name, at in past]
    return Reply(document={"status": "success", "status_message": "resource_found", "logs": lines})


def checkpoints(desk: Desk, call: Call) -> Reply:
    """Give what a completed training has left."""
    read_query(call, {})
    item = desk.find(call, call.args["id"])
    made = {
        "step": 100,
        "path": f"checkpoints/{item.id}/100",
        "size_bytes": 1_000_000,
        "metrics": {"loss": 0.5},
        "model_name": item.fields["base_model"],
        "model_id": item.id,
        "deployment_status": None,
        "created_at": stamp(item.created),
    }
    rows = [made] if word(desk, item) in COURSE.done else []
    document = {"branch": f"fine-tunes/{item.id}", "fine_tune_id": item.id, "checkpoints": rows}
    return Reply(document={**document, "total_checkpoints": len(rows)})


def train_status(desk: Desk, call: Call) -> Reply:
    """Give the status by itself."""
    read_query(call, {})
    item = desk.find(call, call.args["id"])
    return Reply(document={"status": "success", "fine_tune_id": item.id, "train_status": word(desk, item)})


def seed(desk: Desk, call: Call, fields: Fields) -> Item:
    """Make a job with no request, already run."""
    standard = {"resource": "main/train.parquet", "base_model": "seeded", "script_type": "text_generation"}
    item = desk.make(call, {**standard, **fields})
    item.extra["created_by"] = "default"
    return item


_REPO = "/api/repos/{namespace}/{repo}"
_JOBS = f"{_REPO}/fine_tunes"
_JOB = f"{_JOBS}/{{id}}"

OXEN = Provider(
    name="oxen",
    prefix="/oxen",
    routes=(
        Route("POST", _JOBS, "create", create),
        Route("GET", _JOBS, "list", listing),
        Route("GET", "/api/user/fine_tunes", "list", listing_wide),
        Route("GET", "/api/users/{owner}/fine_tunes", "list", listing_wide),
        Route("GET", "/api/orgs/{owner}/fine_tunes", "list", listing_wide),
        Route("GET", _JOB, "get", get),
        Route("PATCH", _JOB, "update", update),
        Route("DELETE", _JOB, "delete", delete),
        Route("POST", f"{_JOB}/actions/run", "run", run),
        Route("POST", f"{_JOB}/actions/stop", "cancel", stop),
        Route("POST", f"{_JOB}/tokenize", "tokenize", tokenize),
        Route("GET", f"{_JOB}/logs", "logs", logs),
        Route("GET", f"{_JOB}/checkpoints", "checkpoints", checkpoints),
        Route("GET", f"{_JOB}/train_status", "train_status", train_status),
        Route("PUT", f"{_REPO}/file/{{resource*}}", "upload", upload),
        Route("GET", f"{_REPO}/metadata/{{resource*}}", "metadata", metadata),
        Route("GET", f"{_REPO}/branches", "branches", branches),
        Route("POST", f"{_REPO}/branches", "branch_create", branch_create),
        Route("GET", f"{_REPO}/branches/{{name*}}", "branch", branch),
    ),
    admit=admit,
    complain=complain,
    seed=seed,
    limit=lambda call: int(dict(call.query).get("page_size", "10")),
)
