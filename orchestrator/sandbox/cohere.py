"""Cohere's fine-tuned models (the service ended in 2025), after its specification, read in November 2026."""

import base64
import binascii
from collections.abc import Callable, Mapping, Sequence

from orchestrator.sandbox.check import Field, bearer, check_object, one_of, read_query, text, whole
from orchestrator.sandbox.clock import stamp
from orchestrator.sandbox.cohere_data import (
    dataset_create,
    dataset_delete,
    dataset_get,
    dataset_list,
    sparse,
    usage,
)
from orchestrator.sandbox.course import Course
from orchestrator.sandbox.desk import Desk
from orchestrator.sandbox.provider import Provider, Route
from orchestrator.sandbox.shelf import Item
from orchestrator.sandbox.wire import Call, Fields, Refusal, Reply

COURSE = Course(
    work=("STATUS_QUEUED", "STATUS_FINETUNING"),
    done=("STATUS_DEPLOYING_API", "STATUS_READY"),
    failed="STATUS_FAILED",
)
_STATUSES = (
    "STATUS_UNSPECIFIED",
    "STATUS_FINETUNING",
    "STATUS_DEPLOYING_API",
    "STATUS_READY",
    "STATUS_FAILED",
    "STATUS_DELETED",
    "STATUS_TEMPORARILY_OFFLINE",
    "STATUS_PAUSED",
    "STATUS_QUEUED",
)
_BASE_TYPES = tuple(
    f"BASE_TYPE_{name}" for name in ("UNSPECIFIED", "GENERATIVE", "CLASSIFICATION", "RERANK", "CHAT")
)
_TARGETS = tuple(f"LORA_TARGET_MODULES_{name}" for name in ("UNSPECIFIED", "QV", "QKVO", "QKVO_FFN"))
# The ranges are those of the archived fine-tuning guide.
_HYPERPARAMETERS: Mapping[str, Field] = {
    "early_stopping_patience": Field(kind="integer", low=0, high=10),
    "early_stopping_threshold": Field(kind="number", low=0.001, high=0.1),
    "train_batch_size": Field(kind="integer", low=2, high=16),
    "train_epochs": Field(kind="integer", low=1, high=10),
    "learning_rate": Field(kind="number", low=0.00005, high=0.1),
    "lora_alpha": Field(kind="integer"),
    "lora_rank": Field(kind="integer"),
    "lora_target_modules": Field(choices=_TARGETS),
}
_BASE_MODEL: Mapping[str, Field] = {
    "name": Field(),
    "version": Field(),
    "base_type": Field(required=True, choices=_BASE_TYPES),
    "strategy": Field(choices=("STRATEGY_UNSPECIFIED", "STRATEGY_VANILLA", "STRATEGY_TFEW")),
}
_WANDB: Mapping[str, Field] = {
    "project": Field(required=True),
    "api_key": Field(required=True),
    "entity": Field(),
}
_SETTINGS: Mapping[str, Field] = {
    "base_model": Field(kind="object", required=True, fields=_BASE_MODEL),
    "dataset_id": Field(required=True),
    "hyperparameters": Field(kind="object", fields=_HYPERPARAMETERS),
    "multi_label": Field(kind="boolean"),
    "wandb": Field(kind="object", fields=_WANDB),
}
# The specification has the read-only fields in the request's schema too: they pass, and are left aside.
_NEW: Mapping[str, Field] = {
    "name": Field(required=True),
    "settings": Field(kind="object", required=True, fields=_SETTINGS),
    **dict.fromkeys(("id", "creator_id", "organization_id"), Field()),
    **dict.fromkeys(("created_at", "updated_at", "completed_at", "last_used"), Field()),
    "status": Field(choices=_STATUSES),
}
_PAGE = {"page_size": whole(0, 100), "page_token": text, "order_by": one_of("created_at", "created_at desc")}


def complain(refusal: Refusal) -> Reply:
    """Word a refusal as fine-tuning does."""
    return Reply(status=refusal.status, document={"message": refusal.reason})


def show(desk: Desk, item: Item) -> Fields:
    """Give a FinetunedModel."""
    past = desk.history(COURSE, item)
    times = dict(past)
    shown = {
        "id": item.id,
        "name": item.fields["name"],
        "creator_id": f"user-{item.account}",
        "organization_id": f"org-{item.account}",
        "settings": item.fields["settings"],
        "status": past[-1][0],
        "created_at": stamp(item.created),
        "updated_at": stamp(past[-1][1]),
    }
    if "STATUS_DEPLOYING_API" in times:  # the training is complete then, before the model serves
        shown["completed_at"] = stamp(times["STATUS_DEPLOYING_API"])
    return shown


def create(desk: Desk, call: Call) -> Reply:
    """Queue a training, which counts against the quota."""
    read_query(call, {})
    fields = call.document()
    check_object(fields, _NEW)
    item = desk.make(call, {"name": fields["name"], "settings": _complete(fields["settings"])})
    desk.pay(item)
    return Reply(document={"finetuned_model": show(desk, item)})


def _complete(settings: Fields) -> Fields:
    base = {"strategy": "STRATEGY_TFEW", **settings["base_model"]}
    standard = {"train_epochs": 1, "learning_rate": 0.01, "train_batch_size": 16}
    hyperparameters = {**standard, **settings.get("hyperparameters", {})}
    full: Fields = sparse({**settings, "base_model": base, "hyperparameters": hyperparameters})
    # what the specification requires is there even when empty
    return {**full, "dataset_id": settings["dataset_id"]}


def get(desk: Desk, call: Call) -> Reply:
    """Give one model."""
    read_query(call, {})
    return Reply(document={"finetuned_model": show(desk, desk.find(call, call.args["id"]))})


def update(desk: Desk, call: Call) -> Reply:
    """Change a model's name or settings."""
    read_query(call, {})
    item = desk.find(call, call.args["id"])
    fields = call.document()
    check_object(fields, {name: _NEW[name] for name in ("name", "settings")})
    item.fields.update(name=fields["name"], settings=_complete(fields["settings"]))
    desk.put(item)
    return Reply(document={"finetuned_model": show(desk, item)})


def delete(desk: Desk, call: Call) -> Reply:
    """Delete a model."""
    read_query(call, {})
    desk.remove(desk.find(call, call.args["id"]))
    return Reply(document={})


def listing(desk: Desk, call: Call) -> Reply:
    """Give one page of models; the next token is absent at the end."""
    query = read_query(call, _PAGE)
    size = query.get("page_size", 0) or desk.options.cohere_page
    newest = query.get("order_by") == "created_at desc"
    now = desk.clock.now()
    shelf = desk.shelf("cohere", call.account)
    after = _untoken(query["page_token"]) if "page_token" in query else None
    page: list[Item] = []
    token = ""
    for item in shelf.walk(now, newest=newest, after=after):
        if len(page) == size:
            token = _token(page[-1].seq)
            break
        page.append(item)
    tail = {"next_page_token": token, "total_size": shelf.count(now)}
    return Reply(document={"finetuned_models": [show(desk, item) for item in page], **sparse(tail)})


def _token(place: int) -> str:
    return base64.urlsafe_b64encode(f"after:{place}".encode()).decode()


def _untoken(token: str) -> int:
    try:
        word, _, place = base64.urlsafe_b64decode(token.encode()).decode().partition(":")
        if word == "after":
            return int(place)
    except (ValueError, binascii.Error):
        pass  # said below, in one place
    raise Refusal(400, "page_token is not valid")


def _rows(desk: Desk, call: Call, name: str, rows: Callable[[Item], Sequence[Fields]]) -> Reply:
    query = read_query(call, _PAGE)
    found = list(rows(desk.find(call, call.args["id"])))
    if query.get("order_by") == "created_at desc":
        found.reverse()
    size = query.get("page_size", 0) or desk.options.cohere_page
    start = _untoken(query["page_token"]) if "page_token" in query else 0
    token = _token(start + size) if len(found) > start + size else ""
    tail = sparse({"next_page_token": token, "total_size": len(found)})
    return Reply(document={name: sparse(found[start : start + size]), **tail})


def events(desk: Desk, call: Call) -> Reply:
    """Give the statuses a model has passed through, with their times."""

    def rows(item: Item) -> list[Fields]:
        past = desk.history(COURSE, item)
        return [{"user_id": "", "status": word, "created_at": stamp(at)} for word, at in past]

    return _rows(desk, call, "events", rows)


def metrics(desk: Desk, call: Call) -> Reply:
    """Give the steps of the training, five once it is complete."""

    def rows(item: Item) -> list[Fields]:
        times = dict(desk.history(COURSE, item))
        at = stamp(times.get("STATUS_FINETUNING", item.created))
        steps = range(5 if "STATUS_DEPLOYING_API" in times else 0)
        return [{"created_at": at, "step_number": nr, "metrics": {"loss": 1 / (nr + 1)}} for nr in steps]

    return _rows(desk, call, "step_metrics", rows)


def seed(desk: Desk, call: Call, fields: Fields) -> Item:
    """Make a model with no request."""
    settings = {"base_model": {"base_type": "BASE_TYPE_CHAT"}, "dataset_id": "ds-1"}
    given = {"name": "seeded", "settings": settings, **fields}
    return desk.make(call, {**given, "settings": _complete(given["settings"])})


_MODELS = "/v1/finetuning/finetuned-models"

COHERE = Provider(
    name="cohere",
    prefix="/cohere",
    routes=(
        Route("POST", _MODELS, "create", create),
        Route("GET", _MODELS, "list", listing),
        Route("GET", f"{_MODELS}/{{id}}", "get", get),
        Route("PATCH", f"{_MODELS}/{{id}}", "update", update),
        Route("DELETE", f"{_MODELS}/{{id}}", "delete", delete),
        Route("GET", f"{_MODELS}/{{id}}/events", "events", events),
        Route("GET", f"{_MODELS}/{{id}}/training-step-metrics", "metrics", metrics),
        Route("POST", "/v1/datasets", "dataset_create", dataset_create),
        Route("GET", "/v1/datasets", "dataset_list", dataset_list),
        Route("GET", "/v1/datasets/usage", "usage", usage),
        Route("GET", "/v1/datasets/{id}", "dataset_get", dataset_get),
        Route("DELETE", "/v1/datasets/{id}", "dataset_delete", dataset_delete),
    ),
    admit=bearer,
    complain=complain,
    seed=seed,
    limit=lambda call: int(dict(call.query).get("page_size", "0")) or 50,
)
