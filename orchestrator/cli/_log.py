"""Logs on stderr, with every secret hidden: short lines on a terminal, JSON lines elsewhere."""

import logging
import sys
from collections.abc import MutableMapping
from typing import Any, TextIO

import structlog

from orchestrator.cli._line import Line
from orchestrator.cli._sentences import fill
from orchestrator.net.redaction import redact

LEVELS = (logging.CRITICAL, logging.WARNING, logging.INFO, logging.DEBUG)
NOISY = (
    "alembic",
    "httpx",
    "httpcore",
    "hpack",
    "h2",
    "apscheduler",
    "watchfiles",
    "asyncio",
    "sqlalchemy",
)


LONGEST = 4096
"""Characters of one field, so that nothing from outside fills the disk."""


class _Formatter(structlog.stdlib.ProcessorFormatter):
    """Writes an entry as a whole, traceback and all, and then hides every secret in it."""

    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))


class _Handler(logging.StreamHandler[TextIO]):
    """Writes to a stream; on a terminal a long line is wrapped between words, once no secret is in it."""

    def __init__(self, stream: TextIO, *, color: bool) -> None:
        super().__init__(stream)
        self._color = color

    def emit(self, record: logging.LogRecord) -> None:
        """Write one entry."""
        try:
            fill(self.format(record), self.stream, color=self._color)
            self.flush()
        except Exception:  # noqa: BLE001 - as every handler of the standard library does
            self.handleError(record)


def configure(verbose: int, *, quiet: bool, color: bool, daemon: bool = False) -> None:
    """Set up logging; only a daemon logs without `-v`, since other commands print what they do."""
    level = LEVELS[min(verbose + 2 * daemon, len(LEVELS) - 1)]
    if quiet:
        level = max(level, logging.ERROR)
    renderer: Any = structlog.processors.JSONRenderer()
    if sys.stderr.isatty():
        renderer = Line(color=color)
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _capped,
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    handler = _Handler(sys.stderr, color=color)
    handler.setFormatter(
        _Formatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                renderer,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in NOISY:  # their messages hold URLs, headers and parameters
        logging.getLogger(name).setLevel(logging.WARNING)


def _capped(_logger: object, _name: str, fields: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for key, value in fields.items():
        if isinstance(value, str) and len(value) > LONGEST:
            fields[key] = f"{value[: LONGEST - 1]}…"
    return fields
