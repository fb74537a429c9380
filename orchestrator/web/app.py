"""The API (`contract.md` §5): routes over the reports and decisions that the command line has too."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Final

import structlog
from fastapi import FastAPI, HTTPException, Path, Query, Request, Security
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from fastapi.security import HTTPBearer
from starlette.exceptions import HTTPException as AnyHTTPException

from orchestrator import __version__
from orchestrator.app import decide, report
from orchestrator.errors import OrchestratorError, StoreError, UsageError
from orchestrator.store.views import Standing
from orchestrator.web import documents, metrics
from orchestrator.web.health import Health, late_loops
from orchestrator.worker.engine import Engine

log: structlog.stdlib.BoundLogger = structlog.get_logger("orchestrator.web")

BIGGEST: Final = 2**63 - 1
MOST: Final = 1000

Limit = Annotated[int, Query(ge=1, le=MOST, description="How many at most.")]
# PostgreSQL stores no NUL character, and takes none in a question either.
Job = Annotated[str, Path(description="The job's name.", max_length=2000, pattern=r"^[^\x00]*$")]


class Api:
    """The routes; each answers from the database alone, and acts only by writing there."""

    def __init__(self, engine: Engine, health: Health) -> None:
        self._engine = engine
        self._health = health

    async def healthz(self) -> JSONResponse:
        """Say that the process answers."""
        return JSONResponse({"status": "ok"})

    async def readyz(self) -> JSONResponse:
        """Say whether every loop makes progress: 503 where one does not, or where the daemon is stopping."""
        hooks = self._engine.deliverer.hooks
        late, stopping = late_loops(self._health.progress, hooks, datetime.now(UTC)), self._engine.stopping
        ready = not late and not stopping
        answer = {"ready": ready, "late": late, "stopping": stopping, "trouble": self._health.trouble}
        return JSONResponse(answer, 200 if ready else 503)

    async def metrics(self) -> Response:
        """Return the gauges that Prometheus reads."""
        store = self._engine.store
        found = await report.status(store, self._engine.manifest.settings, ())
        page = metrics.written(await store.views.counts(), found)
        return Response(page, media_type=metrics.MEDIA_TYPE)

    async def jobs(self) -> JSONResponse:
        """Return every job with its current run, the accounts, and the daemon: `status --json`."""
        return JSONResponse(await report.status(self._engine.store, self._engine.manifest.settings))

    async def job(self, job: Job) -> JSONResponse:
        """Return one job with its current run."""
        return JSONResponse(await self._document(await self._standing(job)))

    async def events(
        self,
        after: Annotated[int | None, Query(ge=0, le=BIGGEST, description="Only those after this id.")] = None,
        limit: Limit = MOST,
    ) -> JSONResponse:
        """Return what happened, oldest first: after an id, else the latest."""
        found = await self._engine.store.views.events(after=after, most=limit)
        return JSONResponse(
            {
                "schema_version": report.SCHEMA_VERSION,
                "events": [report.event(event) for event in found],
                "next": found[-1].id if found else after or 0,
            }
        )

    async def deliveries(
        self,
        after: Annotated[
            str | None, Query(pattern=r"^[A-Za-z0-9_]{1,100}$", description="Only those after this id.")
        ] = None,
        limit: Limit = MOST,
    ) -> JSONResponse:
        """Return deliveries to hooks, oldest first: after one of them, else the latest."""
        found = await self._engine.store.outbox.log(after=after, most=limit)
        return JSONResponse(
            {
                "schema_version": report.SCHEMA_VERSION,
                "deliveries": [report.delivery(delivery) for delivery in found],
                "next": found[-1].id if found else after,
            }
        )

    async def cancel(self, job: Job) -> JSONResponse:
        """Ask for the end of a job's run; it never deletes. The notes say what the provider cannot do."""
        run = decide.to_end(await self._standing(job))
        await self._engine.store.decisions.cancel(run, "cancel", self._engine.routing)
        await self._engine.store.accounts.reconsider(run.account)
        log.info("api.cancel", job=job, run=run.id)
        return await self._decided(job, decide.caveats(run, "cancel"))

    async def retry(self, job: Job) -> JSONResponse:
        """Buy another attempt of a job whose run failed, was cancelled or is lost."""
        declared, before = decide.to_repeat(await self._standing(job), self._engine.manifest)
        again = await decide.repeat(self._engine.store, declared, before)
        log.info("api.retry", job=job, run=again.id, attempt=again.attempt)
        return await self._decided(job, ())

    async def _standing(self, job: str) -> Standing:
        found = await self._engine.store.views.standings([job])
        if not found:
            raise HTTPException(404, f"no job {job} is recorded")
        return found[0]

    async def _document(self, standing: Standing) -> dict[str, Any]:
        accounts = {account.name: account for account in await self._engine.store.accounts.all()}
        return report.job(standing, accounts.get(standing.record.account))

    async def _decided(self, job: str, notes: Sequence[str]) -> JSONResponse:
        document = await self._document(await self._standing(job))
        answer = {"schema_version": report.SCHEMA_VERSION, "job": document, "notes": list(notes)}
        return JSONResponse(answer, 202)


def create_app(engine: Engine, health: Health) -> FastAPI:
    """Make the application; `guarded` stands before it."""
    # No page that shows the document: those of FastAPI load their scripts from elsewhere.
    app = FastAPI(
        title="orchestrator", version=__version__, docs_url=None, redoc_url=None, redirect_slashes=False
    )
    api = Api(engine, health)
    reads = (
        ("/healthz", api.healthz, documents.HealthDocument, ()),
        ("/readyz", api.readyz, documents.ReadyDocument, ()),
        ("/api/v1/jobs", api.jobs, documents.StatusDocument, (503,)),
        # A job's name may hold a slash, as those of a matrix over models do.
        ("/api/v1/jobs/{job:path}", api.job, documents.JobDocument, (404, 422, 503)),
        ("/api/v1/events", api.events, documents.EventsDocument, (422, 503)),
        ("/api/v1/deliveries", api.deliveries, documents.DeliveriesDocument, (422, 503)),
    )
    for path, route, document, codes in reads:
        app.add_api_route(path, route, response_model=document, responses=_errors(400, 401, 421, *codes))
    for name, decision in (("cancel", api.cancel), ("retry", api.retry)):
        app.add_api_route(
            f"/api/v1/jobs/{{job:path}}/{name}",
            decision,
            methods=["POST"],
            status_code=202,
            response_model=documents.DecidedDocument,
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
    return {code: {"model": documents.ErrorDocument} for code in codes}


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
        case UsageError():
            return _problem(409, error.message, error.hint)
        case StoreError():
            log.error("store.failed", error=error.message, hint=error.hint)
            return _problem(503, error.message, error.hint)
        case _:
            raise error


def _problem(code: int, message: str, hint: str | None = None, headers: Any = None) -> JSONResponse:
    return JSONResponse({"error": message, "hint": hint}, code, headers)
