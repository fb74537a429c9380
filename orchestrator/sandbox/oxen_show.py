"""How Oxen shows a job: a short shape in lists, a full one otherwise (docs.oxen.ai, November 2026)."""

from orchestrator.sandbox.clock import stamp
from orchestrator.sandbox.course import Course
from orchestrator.sandbox.desk import Desk
from orchestrator.sandbox.shelf import Item
from orchestrator.sandbox.wire import Fields

# `created` comes before these and lasts until the job is run.
COURSE = Course(work=("tokenizing", "enqueued", "running"), done=("completed", "deployed"), failed="errored")


def word(desk: Desk, item: Item) -> str:
    """Tell the job's present status."""
    return desk.history(COURSE, item)[-1][0]


def short(desk: Desk, item: Item) -> Fields:
    """Give the shape that create and lists show."""
    past = desk.history(COURSE, item)
    return {
        "id": item.id,
        "name": item.extra.get("name", f"fine-tune-{item.seq}"),
        "base_model": item.fields["base_model"],
        "status": past[-1][0],
        "created_at": stamp(item.created),
        "updated_at": stamp(past[-1][1]),
    }


def full(desk: Desk, item: Item) -> Fields:
    """Give the shape that a get shows, with all that was asked for."""
    past = dict(desk.history(COURSE, item))
    now = desk.history(COURSE, item)[-1][0]
    start = past.get("running")
    end = past.get("completed", past.get("errored", past.get("stopped")))
    seconds = max(0.0, (end or desk.clock.now()) - start) if start is not None else 0.0
    done = now in COURSE.done
    return {
        **short(desk, item),
        **item.fields,
        "resource": _resource(desk, item.fields["resource"]),
        "training_params": item.fields.get("training_params", {}),
        "is_public": item.fields.get("is_public", False),
        "oxen_model_path": item.fields.get("oxen_model_path"),
        "display_name": item.extra.get("display_name"),
        "description": item.extra.get("description"),
        "created_by": item.extra.get("created_by", "default"),
        "inserted_at": stamp(item.created),
        "started_at": stamp(start) if start is not None else None,
        "finished_at": stamp(end) if end is not None else None,
        "error": "CUDA out of memory at step 3" if now == "errored" else None,
        "queue_position": 1 if now == "enqueued" else None,
        "credits_used": round(seconds * 0.01, 4),
        "rate_per_second": 0.01,
        "output_resource": f"fine-tunes/{item.id}" if done else None,
        "deployed_model": f"{item.account.replace('/', '-')}-{item.id}" if now == "deployed" else None,
    }


def _resource(desk: Desk, resource: str) -> object:
    if desk.options.oxen_resource == "string":
        return resource
    version, _, path = resource.partition("/")
    return {"path": path, "version": version}
