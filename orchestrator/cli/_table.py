"""Tables: whole and aligned for a pipe, fitted to the width of a terminal, the same columns on both."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TextIO

import click

from orchestrator.cli._text import plain
from orchestrator.core.delivery import stamp

COLORS = {
    **dict.fromkeys(("succeeded", "delivered", "ok"), "green"),
    **dict.fromkeys(("failed", "lost", "dead", "paused", "problem"), "red"),
    **dict.fromkeys(("cancelled", "stale", "warning"), "yellow"),
    **dict.fromkeys(("running", "queued", "submitting"), "cyan"),
    "in_doubt": "magenta",
}
GLYPHS = {
    **dict.fromkeys(("succeeded", "delivered", "ok"), ("✓", "+")),
    **dict.fromkeys(("failed", "lost", "dead", "problem"), ("✗", "x")),
    **dict.fromkeys(("cancelled", "dropped", "no"), ("⊘", "-")),
    **dict.fromkeys(("in_doubt", "warning", "paused", "stale", "off"), ("!", "!")),
    **dict.fromkeys(("running", "submitting"), ("▸", ">")),
    **dict.fromkeys(("queued", "pending", "idle"), ("◦", "o")),
}
"""A state's sign on a terminal, and where its encoding lacks that; none is of ambiguous width."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column, and how it shrinks on a narrow terminal; one without a mark is never cut.

    Where every head is empty, the line of heads is left out.
    """

    head: str
    cut: bool = False
    """A name, which loses its middle."""
    wrap: bool = False
    """Sentences, which go on in the next line."""
    state: bool = False
    """One word of `GLYPHS`, with its sign and colour."""
    wide: bool = False
    """Shown by `-o wide` alone, which fits nothing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """Rows under columns, not drawn yet; a cell may be a time."""

    columns: Sequence[Column]
    rows: Sequence[Sequence[object]]

    @classmethod
    def of(cls, columns: Sequence[Column], rows: Iterable[Sequence[object]], *, wide: bool) -> "Table":
        """Take the columns that `-o table` or `-o wide` shows."""
        shown = [index for index, column in enumerate(columns) if wide or not column.wide]
        return cls(
            columns=[columns[index] for index in shown],
            rows=[[row[index] for index in shown] for row in rows],
        )

    def text(self) -> str:
        """Write it whole, for a pipe or `-o wide`: no sign, and times as scripts read them."""
        cells = [[_whole(cell) for cell in row] for row in self.rows]
        heads = [column.head.upper() for column in self.columns]
        widths = [max(map(len, column)) for column in zip(heads, *cells, strict=True)]
        lines = [click.style(_line(heads, widths), bold=True)] if any(heads) else []
        lines += [_line(row, widths, [column.state for column in self.columns]) for row in cells]
        return "\n".join(lines)


def _whole(cell: object) -> str:
    return stamp(cell.replace(microsecond=0)) or "" if isinstance(cell, datetime) else plain(cell)


def _line(row: Sequence[str], widths: Sequence[int], states: Sequence[bool] = ()) -> str:
    padded = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
    padded[-1] = row[-1]
    for index, state in enumerate(states):
        if state:
            padded[index] = click.style(padded[index], fg=COLORS.get(row[index]))
    return "  ".join(padded).rstrip()


def width(stream: TextIO, env: Mapping[str, str] = os.environ) -> int | None:
    """Return how many cells a terminal has in a line, None where `stream` is none."""
    if not stream.isatty():
        return None
    if env.get("COLUMNS", "").isdecimal():
        return int(env["COLUMNS"]) or 80
    try:
        return os.get_terminal_size(stream.fileno()).columns or 80
    except OSError:
        return 80


def sign(state: str, stream: TextIO) -> str:
    """Return a state's sign, as far as `stream` can show it."""
    drawn, plainer = GLYPHS.get(state, (" ", " "))
    return drawn if shows(drawn, stream) else plainer


def shows(text: str, stream: TextIO) -> bool:
    """Say whether the encoding of `stream` has all of `text`."""
    try:
        text.encode(stream.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True
