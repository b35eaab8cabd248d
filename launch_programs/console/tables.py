"""Prints tables without truncating any name or number."""

from collections.abc import Sequence
from typing import IO

from rich.cells import cell_len
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

Cell = str | Text

# Console width in characters, wider than any table.
_UNBOUNDED = 100_000


def screen(file: IO[str]) -> Console:
    """A console for `file`, as wide as the terminal; unbounded if it is not a terminal."""
    return Console(file=file, width=None if file.isatty() else _UNBOUNDED, highlight=False)


def print_table(
    console: Console,
    headings: Sequence[str],
    rows: Sequence[Sequence[Cell]],
    *,
    names: Sequence[str],
    spare: Sequence[str] = (),
) -> None:
    """Prints a table; on a console that is too narrow, drops columns or prints a list instead.

    Args:
      console: console to print to.
      headings: column headings, all different; the first column names the rows.
      rows: rows with a cell for each heading.
      names: headings of left-aligned columns; the others are numbers.
      spare: headings of columns that may be dropped, in that order.
    """
    shown = list(range(len(headings)))
    for left_out in (None, *spare):
        if left_out is not None:
            shown.remove(headings.index(left_out))
        table = Table()
        for i in shown:
            right = headings[i] not in names
            table.add_column(headings[i], justify="right" if right else "left", no_wrap=True)
        for row in rows:
            table.add_row(*(_text(row[i]) for i in shown))
        unbounded = console.options.update(width=_UNBOUNDED)
        if Measurement.get(console, unbounded, table).maximum <= console.width:
            console.print(table)
            return
    width = max(map(cell_len, headings[1:]))
    for row in rows:
        console.print(_text(row[0]), soft_wrap=True)
        for heading, cell in zip(headings[1:], row[1:], strict=True):
            if cell:
                label = Text(f"  {heading}{' ' * (width - cell_len(heading))}  ")
                console.print(label + _text(cell), soft_wrap=True)


def _text(cell: Cell) -> Text:
    return Text(cell) if isinstance(cell, str) else cell  # no markup
