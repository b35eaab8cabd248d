"""Tables on screens of any width."""

import io
import re

import pytest
from rich.console import Console

from launch_programs.console.tables import print_table, screen

HEADINGS = ("task", "episodes", "mean", "from")
ROWS = [
    ("gym:a_long_name/AnEnvironment-v1", "10", "137,427.2", "evaluation at 200,000,000"),
    ("[b]pong[/b]", "10", "-20.9", ""),
]


def shown(width: int) -> str:
    console = Console(width=width, file=io.StringIO(), force_terminal=True, color_system=None)
    print_table(console, HEADINGS, ROWS, names=("task", "from"), spare=("from", "episodes"))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize("width", range(20, 120))
def test_no_name_and_no_number_is_cut(width: int) -> None:
    text = shown(width)
    assert "…" not in text
    for cell in (ROWS[0][0], ROWS[0][2], ROWS[1][0], ROWS[1][2]):
        assert cell in text
    if "│" in text:
        assert max(map(len, text.splitlines())) <= width


def test_what_may_be_left_out_is_left_out_in_order_before_it_is_a_list() -> None:
    titles = [re.findall(r"\w+", shown(width).splitlines()[1]) for width in (100, 65, 52)]
    assert titles == [list(HEADINGS), ["task", "episodes", "mean"], ["task", "mean"]]
    assert shown(40).splitlines() == [
        "gym:a_long_name/AnEnvironment-v1",
        "  episodes  10",
        "  mean      137,427.2",
        "  from      evaluation at 200,000,000",
        "[b]pong[/b]",
        "  episodes  10",
        "  mean      -20.9",
    ]


def test_a_file_has_no_width() -> None:
    file = io.StringIO()
    rows = [("x" * 500, "1")]
    print_table(screen(file), ("task", "mean"), rows, names=("task",))
    assert "x" * 500 in file.getvalue()
    assert len(file.getvalue().splitlines()[0]) < 600
