"""The API answers with the documents of the command line, and `/openapi.json` says what they are."""

from typing import Any

import pytest
from pydantic import TypeAdapter

from orchestrator.app.doctor import DoctorDocument
from orchestrator.app.documents import Document, JobDocument, StatusDocument
from orchestrator.app.history import DeliveriesPage, EventsPage, ShowDocument
from orchestrator.app.hook_explain import AudienceDocument
from orchestrator.app.plan import PlanDocument
from orchestrator.app.providers import ProvidersDocument
from orchestrator.web.app import ErrorDocument
from orchestrator.web.health import HealthDocument, ReadyDocument

from .daemon import Daemon, document

PAGES = (
    "/healthz",
    "/readyz",
    "/metrics",
    "/api/v1/jobs",
    "/api/v1/jobs/narrator",
    "/api/v1/events",
    "/api/v1/deliveries",
)


def test_jobs_are_the_status_of_the_command_line(settled: Daemon) -> None:
    ours, theirs = settled.get("/api/v1/jobs"), document(settled.folder, "status")
    assert ours["daemon"].pop("seen_at")
    assert theirs["daemon"].pop("seen_at")
    assert ours == theirs
    assert list(ours) == list(theirs)


@pytest.mark.parametrize("name", ["narrator", "broken", "chat"])
def test_a_job_is_as_among_the_others(settled: Daemon, name: str) -> None:
    (theirs,) = document(settled.folder, "status", name)["jobs"]
    assert settled.job(name) == theirs


def test_events_are_those_of_the_command_line(settled: Daemon) -> None:
    found = settled.get("/api/v1/events")
    assert found.pop("next") == found["events"][-1]["id"]
    assert found == document(settled.folder, "events")


def test_deliveries_are_those_of_the_command_line(settled: Daemon) -> None:
    found = settled.get("/api/v1/deliveries")
    assert found.pop("next") == found["deliveries"][-1]["id"]
    assert found == document(settled.folder, "hooks", "log")


def test_following_next_tells_each_event_once(settled: Daemon) -> None:
    every = settled.get("/api/v1/events")["events"]
    assert _followed(settled, "events", 0) == every
    assert settled.get("/api/v1/events", limit=2)["events"] == every[-2:]


def test_following_next_tells_each_delivery_once(settled: Daemon) -> None:
    every = settled.get("/api/v1/deliveries")["deliveries"]
    assert _followed(settled, "deliveries", every[0]["id"]) == every[1:]
    assert settled.get("/api/v1/deliveries", limit=1)["deliveries"] == every[-1:]


def _followed(daemon: Daemon, what: str, after: object) -> list[Any]:
    seen: list[Any] = []
    while True:
        page = daemon.get(f"/api/v1/{what}", after=after, limit=1)
        if not page[what]:
            assert page["next"] == after
            return seen
        seen += page[what]
        after = page["next"]


@pytest.mark.parametrize(
    ("path", "model"),
    [
        ("/healthz", HealthDocument),
        ("/readyz", ReadyDocument),
        ("/api/v1/jobs", StatusDocument),
        ("/api/v1/jobs/narrator", JobDocument),
        ("/api/v1/jobs/broken", JobDocument),
        ("/api/v1/events", EventsPage),
        ("/api/v1/deliveries", DeliveriesPage),
        ("/api/v1/jobs/nobody", ErrorDocument),
        ("/api/v1/events?limit=0", ErrorDocument),
    ],
)
def test_an_answer_is_as_its_model_says(settled: Daemon, path: str, model: type[Document]) -> None:
    TypeAdapter(model).validate_json(settled.client.get(path).content)


@pytest.mark.parametrize(
    ("typed", "model"),
    [
        ("show broken", ShowDocument),
        ("plan", PlanDocument),
        ("providers", ProvidersDocument),
        ("hooks explain broken", AudienceDocument),
        ("doctor", DoctorDocument),
    ],
)
def test_what_a_command_prints_is_as_its_model_says(
    settled: Daemon, typed: str, model: type[Document]
) -> None:
    found = document(settled.folder, *typed.split())
    found = {{"for": "for_"}.get(key, key): value for key, value in found.items()}
    TypeAdapter(model).validate_python(found)


def test_openapi_lists_every_route(settled: Daemon) -> None:
    found = settled.get("/openapi.json")
    assert "HTTPValidationError" not in found["components"]["schemas"]
    methods = {path: sorted(item) for path, item in found["paths"].items()}
    decisions = {f"/api/v1/jobs/{{job}}/{name}": ["post"] for name in ("cancel", "retry")}
    reads = {path.replace("narrator", "{job}"): ["get"] for path in PAGES}
    assert methods == decisions | reads
    for path in decisions:
        assert found["paths"][path]["post"]["security"] == [{"HTTPBearer": []}]
        assert "202" in found["paths"][path]["post"]["responses"]


@pytest.mark.parametrize("path", PAGES)
def test_head_is_a_get_without_its_body(settled: Daemon, path: str) -> None:
    reply = settled.client.head(path)
    assert (reply.status_code, reply.content) == (200, b"")
    assert int(reply.headers["content-length"]) > 0


@pytest.mark.parametrize(
    "query",
    [
        "events?limit=0",
        "events?limit=1001",
        "events?limit=many",
        "events?after=-1",
        "events?after=9223372036854775808",
        f"events?limit={'9' * 5000}",
        "deliveries?limit=0",
        "deliveries?limit=1001",
        f"deliveries?after={'a' * 101}",
    ],
)
def test_a_parameter_out_of_bounds_is_named(settled: Daemon, query: str) -> None:
    reply = settled.client.get(f"/api/v1/{query}")
    assert reply.status_code == 422
    assert reply.json()["error"].startswith(query.partition("?")[2].partition("=")[0] + ": ")


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/docs",
        "/redoc",
        "/metrics/",
        "/api/v1",
        "/api/v1/jobs/",
        "/api/v1/events/",
        "/api/v2/jobs",
        "/api/v1/jobs/nobody",
        "/api/v1/jobs/narrator/",
        "/api/v1/jobs/..%2F..%2Fetc",
        "/api/v1/jobs/sweep%5Bbase_model=a%2Fb%5D",
        "/%ff%fe",
    ],
)
def test_what_is_not_there_is_said_in_json(settled: Daemon, path: str) -> None:
    reply = settled.client.get(path)
    assert reply.status_code == 404
    assert set(reply.json()) == {"error", "hint"}


def test_a_method_that_a_path_does_not_have(settled: Daemon) -> None:
    reply = settled.client.options("/api/v1/jobs")
    assert (reply.status_code, reply.headers["allow"]) == (405, "GET")
    assert reply.json() == {"error": "Method Not Allowed", "hint": None}
