"""What a database's driver says, as an error that tells a person what to do."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import sqlalchemy as sa
import structlog

from orchestrator.config.address import ALLOWED_HOSTS
from orchestrator.errors import StoreAway, StoreError

log: structlog.stdlib.BoundLogger = structlog.get_logger("orchestrator.store")

WRITE_SECONDS: Final = 30.0

HINTS: Final = {
    "no such table": "orchestrator db upgrade",
    "readonly": "make the file and its folder writable for this user",
    "unable to open": "check that the folder exists and is writable",
    "disk": "free some space; nothing was sent, nothing is lost",
    "not a database": "this file is something else: name another `database`",
    "malformed": "restore a backup (`orchestrator db backup` makes them)",
    "locked": "another process holds it for long; try again",
    "refused": "is the server running, and the address right?",
    "permission denied for schema": "let this user create tables there, or name another database",
}
AWAY: Final = ("starting up", "shutting down", "in recovery", "too many", "connection slots")
"""A server says so that is there, and lets nobody in for now."""
REFUSED: Final = ("no password supplied", "authentication", "SCRAM")


@contextmanager
def explained(where: str, *, bare: bool = False) -> Iterator[None]:
    """Turn a driver's error into one that says what to do; it never holds a parameter.

    `bare` where the server was given no credentials of this machine.
    """
    try:
        yield
    except sa.exc.IntegrityError as error:
        text = _first_line(error)
        raise StoreError(f"{where}: a row that must be unique is there already: {text}") from error
    except sa.exc.DBAPIError as error:
        text = _first_line(error)
        kind = StoreAway if _away(error, text) else StoreError
        raise kind(f"{where}: {text}", hint=_hint(text, bare=bare)) from error
    except sa.exc.SQLAlchemyError as error:
        raise StoreError(f"{where}: {type(error).__name__}") from error
    except TimeoutError as error:
        raise StoreAway(f"{where}: no answer within {WRITE_SECONDS:.0f} s") from error


def _first_line(error: sa.exc.DBAPIError) -> str:
    # PostgreSQL's further lines hold the values of the row.
    return next(iter(str(error.orig).splitlines()), type(error.orig).__name__)


def _away(error: sa.exc.DBAPIError, text: str) -> bool:
    if not isinstance(error, sa.exc.OperationalError):
        return error.connection_invalidated
    if type(error.orig).__module__.startswith("sqlite3"):
        return "locked" in text
    # A server that answers with FATAL is there: waiting changes no password and no name.
    return "FATAL" not in text or any(sign in text for sign in AWAY)


def _hint(text: str, *, bare: bool) -> str | None:
    if bare and any(sign in text for sign in REFUSED):
        return (
            "only a job file names this server, so it gets no password of this machine: "
            f"--allow-database-host HOST or {ALLOWED_HOSTS} allows it, ORCHESTRATOR_DATABASE names another"
        )
    return next((hint for part, hint in HINTS.items() if part in text), None)


class Outage:
    """What ails the database, said once until it is over: everything that uses it finds out for itself."""

    def __init__(self) -> None:
        self._said: str | None = None

    def begins(self, loop: str, error: StoreError) -> None:
        """Take note that a loop met `error`."""
        if error.message != self._said:
            self._said = error.message
            log.error("store.failed", loop=loop, error=error.message, hint=error.hint)

    def ends(self) -> None:
        """Take note that something was read or written."""
        if self._said is not None:
            self._said = None
            log.info("store.back")
