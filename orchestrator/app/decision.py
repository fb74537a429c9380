"""A person's decision about a job's run: checked first, and carried out the same way whoever asked."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from orchestrator.app.documents import JobDocument, Whole
from orchestrator.app.status import one
from orchestrator.app.submit import submit
from orchestrator.core.run import Run, Status
from orchestrator.worker.engine import Engine


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """What would be done about `run` of `job`; nothing is done yet."""

    job: str
    run: Run
    record: Callable[[Engine], Awaitable[Run]]
    """Writes it down, and returns the run that the job then stands by; raises where `run` has moved on."""
    sends: bool = True
    """The provider has to be told of it."""
    notes: tuple[str, ...] = ()
    """What a person should know first, as sentences."""
    there: Mapping[str, object] = field(default_factory=dict)
    """What the provider has, by the fields of the spec, where it is to be taken in."""


@dataclass(frozen=True, kw_only=True)
class DecidedDocument(Whole):
    """A job after a person decided about it."""

    job: JobDocument
    notes: tuple[str, ...]
    """What the provider cannot do, as sentences for a person."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Decided:
    """How the job stood when it was recorded, or when what it asks for was sent; `daemon`: that one sends."""

    document: DecidedDocument
    daemon: bool


async def carry_out(engine: Engine, decision: Decision, *, daemon: bool = False) -> Decided:
    """Record a decision, let its account be asked at once, and send what it asks for.

    `daemon` says that the engine is a daemon's own, which sends by itself.
    """
    run = await decision.record(engine)
    await engine.store.accounts.reconsider(decision.run.account)
    if decision.sends and not daemon and run.status is not Status.CANCELLED:
        daemon = await submit(engine, decision.run.account)
        if not daemon:
            run = await engine.store.work.by_id(run.id) or run
    document = DecidedDocument(job=await one(engine.store, decision.job, run), notes=decision.notes)
    return Decided(document=document, daemon=daemon)
