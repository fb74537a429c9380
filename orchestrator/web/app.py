"""The API: routes over the use cases that the command line has too."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Final

import structlog
from fastapi import FastAPI, Path, Query, Request, Security
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from fastapi.security import HTTPBearer
from starlette.exceptions import HTTPException as AnyHTTPException

from orchestrator import __version__
from orchestrator.app.cancel import cancellation
from orchestrator.app.decision import DecidedDocument, Decision, carry_out
from orchestrator.app.documents import Document, JobDocument, StatusDocument, as_json
from orchestrator.app.history import DeliveriesPage, EventsPage, deliveries, events
from orchestrator.app.retry import another_attempt
from orchestrator.app.status import one, status
from orchestrator.errors import OrchestratorError, StoreError, UnknownName, UsageError
from orchestrator.web import metrics
from orchestrator.web.health import Health, HealthDocument, ReadyDocument, late_loops
from orchestrator.worker.engine import Engine

log: structlog.stdlib.BoundLogger = structlog.get_logger("orchestrator.web")

BIGGEST: Final = 2**63 - 1
MOST: Final = 1000

Limit = Annotated[int, Query(ge=1, le=MOST, description="How many at most.")]
# PostgreSQL stores no NUL character, and takes none in a question either.
Job = Annotated[str, Path(description="The job's name.", max_length=2000, pattern=r"^[^\x00]*$")]


@dataclass(frozen=True, kw_only=True)
class ErrorDocument(Document):
    """Why a request was not done, and what to do about it."""

    error: str
    hint: str | None


class Api:
    """The routes; each answers from the database alone, and acts only by writing there."""

    def __init__(self, engine: Engine, health: Health) -> None:
        self._engine = engine
        self._health = health

    async def healthz(self) -> JSONResponse:
        """Say that the process answers."""
        return _answer(HealthDocument(status="ok"))

    async def readyz(self) -> JSONResponse:
        """Say whether every loop makes progress: 503 where one does not, or where the daemon is stopping."""
        hooks = self._engine.deliverer.hooks
        late, stopping = late_loops(self._health.progress, hooks, datetime.now(UTC)), self._engine.stopping
        ready = not late and not stopping
        found = ReadyDocument(ready=ready, late=late, stopping=stopping, trouble=self._health.trouble)
        return _answer(found, 200 if ready else 503)

    async def metrics(self) -> Response:
        """Return the gauges that Prometheus reads."""
        store = self._engine.store
        found = await status(store, self._engine.manifest.settings, ())
        page = metrics.written(await store.views.counts(), found)
        return Response(page, media_type=metrics.MEDIA_TYPE)

    async def jobs(self) -> JSONResponse:
        """Return every job with its current run, the accounts, and the daemon: `status --json`."""
        return _answer(await status(self._engine.store, self._engine.manifest.settings))

    async def job(self, job: Job) -> JSONResponse:
        """Return one job with its current run."""
        return _answer(await one(self._engine.store, job))

    async def events(
        self,
        after: Annotated[int | None, Query(ge=0, le=BIGGEST, description="Only those after this id.")] = None,
        limit: Limit = MOST,
    ) -> JSONResponse:
        """Return what happened, oldest first: after an id, else the latest."""
        return _answer(await events(self._engine.store, after=after, most=limit))

    async def deliveries(
        self,
        after: Annotated[
            str | None, Query(pattern=r"^[A-Za-z0-9_]{1,100}$", description="Only those after this id.")
        ] = None,
        limit: Limit = MOST,
    ) -> JSONResponse:
        """Return deliveries to hooks, oldest first: after one of them, else the latest."""
        return _answer(await deliveries(self._engine.store, after=after, most=limit))

    async def cancel(self, job: Job) -> JSONResponse:
        """Ask for the end of a job's run; it never deletes. The notes say what the provider cannot do."""
        engine = self._engine
        await one(engine.store, job)  # one that no row knows is not found, even if a file declares it
        return await self._carried_out("api.cancel", await cancellation(engine.store, engine.manifest, job))

    async def retry(self, job: Job) -> JSONResponse:
        """Buy another attempt of a job whose run failed, was cancelled or is lost."""
        engine = self._engine
        await one(engine.store, job)
        asked = await another_attempt(engine.store, engine.manifest, job)
        return await self._carried_out("api.retry", asked)

    async def _carried_out(self, event: str, asked: Decision) -> JSONResponse:
        found = (await carry_out(self._engine, asked, daemon=True)).document
        log.info(event, job=asked.job, run=found.job.run_id, attempt=found.job.attempt)
        return _answer(found, 202)


def create_app(engine: Engine, health: Health) -> FastAPI:
    """Make the application; `guarded` stands before it."""
    # No page that shows the document: those of FastAPI load their scripts from elsewhere.
    app = FastAPI(
        title="orchestrator", version=__version__, docs_url=None, redoc_url=None, redirect_slashes=False
    )
    api = Api(engine, health)
    reads = (
        ("/healthz", api.healthz, HealthDocument, ()),
        ("/readyz", api.readyz, ReadyDocument, ()),
        ("/api/v1/jobs", api.jobs, StatusDocument, (503,)),
        # A job's name may hold a slash, as those of a matrix over models do.
        ("/api/v1/jobs/{job:path}", api.job, JobDocument, (404, 422, 503)),
        ("/api/v1/events", api.events, EventsPage, (422, 503)),
        ("/api/v1/deliveries", api.deliveries, DeliveriesPage, (422, 503)),
    )
    for path, route, document, codes in reads:
        app.add_api_route(path, route, response_model=document, responses=_errors(400, 401, 421, *codes))
    for name, decision in (("cancel", api.cancel), ("retry", api.retry)):
        app.add_api_route(
            f"/api/v1/jobs/{{job:path}}/{name}",
            decision,
            methods=["POST"],
            status_code=202,
            response_model=DecidedDocument,
            responses=_errors(400, 401, 403, 404, 408, 409, 413, 421, 422, 503),
            dependencies=[Security(HTTPBearer(auto_error=False, description="ORCHESTRATOR_TOKEN"))],
        )
    app.add_api_route(
        "/metrics",
        api.metrics,
        response_class=PlainTextResponse,
        responses=_errors(400, 401, 421, 503),
    )
    app.add_exception_handler(AnyHTTPException, _refused)
    app.add_exception_handler(RequestValidationError, _misused)
    app.add_exception_handler(OrchestratorError, _failed)
    return app


def _errors(*codes: int) -> dict[int | str, dict[str, Any]]:
    return {code: {"model": ErrorDocument} for code in codes}


async def _refused(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, AnyHTTPException)  # noqa: S101 - it is what this is registered for
    return _problem(error.status_code, str(error.detail), headers=error.headers)


async def _misused(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - it is what this is registered for
    said = (f"{'.'.join(map(str, fault['loc'][1:]))}: {fault['msg']}" for fault in error.errors())
    return _problem(422, "; ".join(said))


async def _failed(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, OrchestratorError)  # noqa: S101 - it is what this is registered for
    match error:
        case UnknownName():
            return _problem(404, error.message, error.hint)
        case UsageError():
            return _problem(409, error.message, error.hint)
        case StoreError():
            log.error("store.failed", error=error.message, hint=error.hint)
            return _problem(503, error.message, error.hint)
        case _:
            raise error


def _problem(code: int, message: str, hint: str | None = None, headers: Any = None) -> JSONResponse:
    return _answer(ErrorDocument(error=message, hint=hint), code, headers)


def _answer(document: Document, code: int = 200, headers: Any = None) -> JSONResponse:
    return JSONResponse(as_json(document), code, headers)
