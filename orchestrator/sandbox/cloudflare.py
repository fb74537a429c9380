"""Cloudflare Workers AI finetunes, after developers.cloudflare.com and its schema, read in November 2026."""

import json
from collections.abc import Mapping

from orchestrator.sandbox.check import Field, admitted, bearer, check_object, one_of, read_query, whole
from orchestrator.sandbox.clock import stamp
from orchestrator.sandbox.course import Course
from orchestrator.sandbox.desk import Desk
from orchestrator.sandbox.provider import Provider, Route
from orchestrator.sandbox.shelf import Item
from orchestrator.sandbox.wire import Call, Fields, Part, Refusal, Reply

SLOTS = 30  # adapters per account
FILES = ("adapter_config.json", "adapter_model.safetensors")
_MODEL_TYPES = ("mistral", "gemma", "llama")
_NEW: Mapping[str, Field] = {
    "model": Field(required=True),
    "name": Field(required=True),
    "description": Field(),
    "public": Field(kind="boolean"),
}
# Nothing here has a status: the course only carries a word that was set by hand.
_COURSE = Course(work=("created",), done=(), failed="created")
_CODES: Mapping[int, int] = {401: 10000, 403: 10001, 404: 7003, 405: 7001}


def admit(call: Call) -> str:
    """Check a bearer token, or e-mail and key; the account is the one in the address."""
    emails, keys = call.header("x-auth-email"), call.header("x-auth-key")
    if call.header("authorization"):
        bearer(call)
    elif len(emails) == 1 and len(keys) == 1 and "@" in emails[0] and keys[0]:
        admitted(keys[0])
    else:
        raise Refusal(401, "a bearer token, or X-Auth-Email and X-Auth-Key, are needed", "unauthorized")
    return call.args.get("account", "default")


def complain(refusal: Refusal) -> Reply:
    """Word a refusal as the common envelope does."""
    code = _CODES.get(refusal.status, 1001)
    errors = [{"code": code, "message": refusal.reason}]
    return Reply(
        status=refusal.status,
        document={"success": False, "errors": errors, "messages": [], "result": None},
    )


def show(desk: Desk, item: Item) -> Fields:
    """Give a Finetune; there is no status and no list of assets in it."""
    times = {
        "created_at": stamp(item.created),
        "modified_at": stamp(item.extra.get("modified", item.created)),
    }
    shown: Fields = {"id": item.id, **item.fields, **times}
    word = desk.history(_COURSE, item)[-1][0]
    return {**shown, "status": word} if item.forced else shown


def _envelope(result: object) -> Reply:
    return Reply(document={"success": True, "errors": [], "messages": [], "result": result})


def create(desk: Desk, call: Call) -> Reply:
    """Make a named record; it takes one of the account's slots and costs nothing."""
    read_query(call, {})
    fields = call.document()
    check_object(fields, _NEW)
    if not fields["name"] or not fields["model"]:
        raise Refusal(400, "name and model must not be empty")
    if desk.shelf("cloudflare", call.account).count(desk.clock.now()) >= SLOTS:
        raise Refusal(400, f"MAX_ASSETS_ERROR: an account holds at most {SLOTS} finetunes")
    return _envelope(show(desk, desk.make(call, {"public": False, **fields})))


def listing(desk: Desk, call: Call) -> Reply:
    """Give all of the account's records: there are no pages, and `public` is not told."""
    read_query(call, {})
    now = desk.clock.now()
    items = desk.shelf("cloudflare", call.account).walk(now, newest=False)
    rows = [show(desk, item) for item in items]
    return _envelope([{key: value for key, value in row.items() if key != "public"} for row in rows])


def public(desk: Desk, call: Call) -> Reply:
    """Give the records of every account that are marked public."""
    readers = {
        "limit": whole(1, 1000),
        "offset": whole(0, 1_000_000),
        "orderBy": one_of("created_at", "name"),
    }
    query = read_query(call, readers)
    now = desk.clock.now()
    shelves = [shelf for _, shelf in desk.shelves("cloudflare")]
    items = [item for shelf in shelves for item in shelf.walk(now, newest=False) if item.fields["public"]]
    shown = sorted(
        (show(desk, item) for item in items), key=lambda row: row[query.get("orderBy", "created_at")]
    )
    start = query.get("offset", 0)
    return _envelope(shown[start : start + query.get("limit", 100)])


def upload(desk: Desk, call: Call) -> Reply:
    """Take one of the two files of an adapter; what was taken once cannot be changed.

    How a repeated file is answered is not documented: it is refused, or taken for done where so chosen.
    """
    read_query(call, {})
    item = _by_id_or_name(desk, call)
    parts = call.parts()
    if set(parts) != {"file_name", "file"}:
        raise Refusal(400, f"the form must hold file_name and file, not {sorted(parts)}")
    name = parts["file_name"].content.decode("utf-8", "replace")
    if name not in FILES:
        raise Refusal(400, f"file_name must be {FILES[0]} or {FILES[1]}, not {name}")
    if name in item.extra and desk.options.cloudflare_repeat == "refuse":
        raise Refusal(400, f"the asset {name} already exists and cannot be changed")
    _check_file(name, parts["file"])
    if name not in item.extra:
        item.extra[name] = parts["file"].summary()
        item.extra["modified"] = desk.clock.now()
        desk.put(item)
    return _envelope({"id": item.id, "finetune_id": item.id, "file_name": name, "bucket_name": "finetunes"})


def _by_id_or_name(desk: Desk, call: Call) -> Item:
    wanted, now = call.args["id"], desk.clock.now()
    shelf = desk.shelf("cloudflare", call.account)
    named = next(shelf.walk(now, newest=True, keep=lambda item: item.fields["name"] == wanted), None)
    item = shelf.find(wanted, now) or named
    if item is None:
        raise Refusal(404, f"finetune {wanted} not found", "not_found")
    return item


def _check_file(name: str, file: Part) -> None:
    if not file.content:
        raise Refusal(400, f"{name} is empty")
    if name != FILES[0]:
        return
    try:
        config = json.loads(file.content)
    except ValueError as error:
        raise Refusal(400, f"{name} is not JSON") from error
    if not isinstance(config, dict) or config.get("model_type") not in _MODEL_TYPES:
        raise Refusal(400, f"{name} must hold model_type, one of {', '.join(_MODEL_TYPES)}")
    rank = config.get("r", 8)
    if not isinstance(rank, int) or not 1 <= rank <= 32:
        raise Refusal(400, f"{name}: the rank r must be 1 to 32")


def seed(desk: Desk, call: Call, fields: Fields) -> Item:
    """Make a record with no request; the number of slots does not bind here."""
    standard = {"name": "seeded", "model": "@cf/mistral/mistral-7b-instruct-v0.2-lora", "public": False}
    return desk.make(call, {**standard, **fields})


_PATH = "/accounts/{account}/ai/finetunes"

CLOUDFLARE = Provider(
    name="cloudflare",
    prefix="/cloudflare/client/v4",
    routes=(
        Route("POST", _PATH, "create", create),
        Route("GET", _PATH, "list", listing),
        Route("GET", f"{_PATH}/public", "public_list", public),
        Route("POST", f"{_PATH}/{{id}}/finetune-assets", "upload", upload),
    ),
    admit=admit,
    complain=complain,
    seed=seed,
    limit=lambda _: SLOTS,
)
