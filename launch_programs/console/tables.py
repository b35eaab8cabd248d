"""Tables on the screen, in which no name and no number is cut."""

from collections.abc import Sequence
from typing import IO

from rich.cells import cell_len
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

Cell = str | Text

# Columns that no table has.
_UNBOUNDED = 100_000


def screen(file: IO[str]) -> Console:
    """Standard output as a console, as wide as the terminal; without bounds if it is none."""
    return Console(file=file, width=None if file.isatty() else _UNBOUNDED, highlight=False)


def print_table(
    console: Console,
    headings: Sequence[str],
    rows: Sequence[Sequence[Cell]],
    *,
    names: Sequence[str],
    spare: Sequence[str] = (),
) -> None:
    """Prints a table; on a console that is too narrow, without some columns, or as a list.

    Args:
      console: where to.
      headings: of the columns, each another; the first names the rows.
      rows: a cell for each heading.
      names: headings of columns that are aligned to the left; the others are numbers.
      spare: headings of columns that may be left out, the first one first.
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
