"""What is drawn on a terminal: tables and sentences fitted to its width, and a table that stays in place."""

import re
from collections.abc import Sequence
from datetime import datetime
from typing import TextIO

from rich.cells import cell_len, set_cell_size
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table as Grid
from rich.text import Text

from orchestrator.cli._table import COLORS, Column, Table, shows, sign, width
from orchestrator.cli._text import plain
from orchestrator.net.redaction import redact

GAP = 2
PART = re.compile(r"[^-/_.:=,]*[-/_.:=,]*")
LEAST = 8
"""Cells that a flexible column keeps where possible."""


def console(stream: TextIO, *, color: bool) -> Console:
    """Open a terminal that prints text as it is, and interprets no markup in it."""
    return Console(
        file=stream,
        width=width(stream) or 80,
        color_system="standard" if color else None,
        force_terminal=True,
        markup=False,
        emoji=False,
        highlight=False,
    )


def draw(table: Table, stream: TextIO, *, color: bool) -> None:
    """Print a table that is no wider than the terminal."""
    screen = console(stream, color=color)
    screen.print(grid(table, screen.width, stream))


def fill(text: str, stream: TextIO, *, color: bool) -> None:
    """Print sentences, wrapped between words; a line goes on two cells deeper than it began."""
    screen = console(stream, color=color)
    for line in text.split("\n"):
        styled = Text.from_ansi(line.lstrip(" "))
        indent = len(line) - len(line.lstrip(" "))
        room = max(1, screen.width - indent - 2)
        if cell_len(styled.plain) <= room + 2:
            screen.print(Text(" " * indent) + styled)
            continue
        for number, part in enumerate(styled.wrap(screen, room)):
            part.rstrip()
            screen.print(Text(" " * (indent + 2 * bool(number))) + part)


def grid(table: Table, room: int, stream: TextIO) -> Grid:
    """Lay a table out in `room` cells."""
    cells = [
        [_text(cell, column, stream) for cell, column in zip(row, table.columns, strict=True)]
        for row in table.rows
    ]
    heads = [column.head.upper() for column in table.columns]
    natural = [max(map(cell_len, column)) for column in zip(heads, *cells, strict=True)]
    widths = shares(table.columns, natural, room - GAP * (len(heads) - 1))
    made = Grid(box=None, padding=(0, GAP, 0, 0), pad_edge=False, header_style="bold", show_header=any(heads))
    for head, share in zip(heads, widths, strict=True):
        made.add_column(Text(_cut(head, share, stream)), width=share, overflow="fold")
    for row in cells:
        made.add_row(*map(_cell, row, table.columns, widths, [stream] * len(row)))
    return made


def shares(columns: Sequence[Column], natural: Sequence[int], room: int) -> list[int]:
    """Share `room` among columns: flexible ones get what the others leave, as evenly as possible."""
    flexible = [index for index, column in enumerate(columns) if column.cut or column.wrap]
    fixed = sum(natural) - sum(natural[index] for index in flexible)
    if room - fixed < sum(min(natural[index], LEAST) for index in flexible):
        flexible = list(range(len(columns)))  # too narrow for anything to stay as it is
    widths = [1 if index in flexible else one for index, one in enumerate(natural)]
    left = room - sum(widths)
    while left > 0:
        growing = [index for index in flexible if widths[index] < natural[index]]
        if not growing:
            break
        widths[min(growing, key=widths.__getitem__)] += 1
        left -= 1
    return widths


def _text(cell: object, column: Column, stream: TextIO) -> str:
    if isinstance(cell, datetime):
        return f"{cell.astimezone():%b %d %H:%M:%S}"
    text = plain(redact(str(cell))) if isinstance(cell, str) else plain(cell)
    return f"{sign(text, stream)} {text}" if column.state else text


def _cell(text: str, column: Column, share: int, stream: TextIO) -> Text:
    if column.state:
        return Text(text, style=COLORS.get(text.partition(" ")[2], ""))
    return Text(_cut(text, share, stream) if column.cut else _broken(text, share))


def _broken(text: str, share: int) -> str:
    """Break words that are longer than a line, such as ids, if possible after punctuation."""
    words = []
    for word in text.split(" "):
        lines = [""]
        for part in PART.findall(word) if cell_len(word) > share else [word]:
            if cell_len(lines[-1] + part) > share and lines[-1]:
                lines.append("")
            lines[-1] += part
        words.append("\n".join(lines))
    return " ".join(words)


def _cut(text: str, share: int, stream: TextIO) -> str:
    """Leave out the middle of a name that does not fit, since its ends tell it from others."""
    if cell_len(text) <= share:
        return text
    dots = "…" if shows("…", stream) else "..."
    kept = max(0, share - len(dots))
    head = set_cell_size(text, (kept + 1) // 2)
    tail = ""
    for letter in reversed(text):
        if cell_len(letter + tail) > kept // 2:
            break
        tail = letter + tail
    return f"{head}{dots}{tail}"[:share]


class InPlace:
    """A table that is redrawn in place while it changes, and left as it is at the end."""

    def __init__(self, stream: TextIO, *, color: bool) -> None:
        self._stream, self._color = stream, color
        self._console = console(stream, color=color)
        self._live = Live(console=self._console, auto_refresh=False, transient=True, vertical_overflow="crop")

    def show(self, table: Table, notes: Sequence[str] = ()) -> None:
        """Draw it anew: as many rows as the terminal has lines for, and how many more there are."""
        self._console.width = width(self._stream) or 80
        room = max(1, self._console.height - len(notes) - 3)
        hidden = len(table.rows) - room
        shown = Table(columns=table.columns, rows=table.rows[:room])
        more = [f"… and {hidden} more" if shows("…", self._stream) else f"and {hidden} more"]
        below = [Text(line, no_wrap=False) for line in [*(more if hidden > 0 else []), *map(redact, notes)]]
        self._live.start()
        self._console.show_cursor(True)  # a second signal ends the process without a word
        self._live.update(Group(grid(shown, self._console.width, self._stream), *below), refresh=True)

    def close(self, table: Table | None) -> None:
        """Leave `table` behind, in full."""
        self._live.stop()
        if table is not None:
            draw(table, self._stream, color=self._color)
