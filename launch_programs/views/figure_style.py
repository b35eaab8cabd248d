"""The style of all figures: colours, lines, sizes for a paper's page, axes, files."""

import os
import pathlib
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# The colours of Okabe and Ito (https://jfly.uni-koeln.de/color/), which colour-blind readers can
# tell apart, except yellow, which is too light for a line. Line styles still differ in greyscale.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
_LINES = ("-", "--", "-.", ":")

PAGE_WIDTH = 7.0  # inches; text width of two columns
COLUMN_WIDTH = 3.4

# Marks a file as drawn by one of this project's programs.
_MARK = "PopArt-IMPALA"

# Formats, and the metadata that hold the mark.
_ENDINGS: dict[str, dict[str, str | None]] = {
    "png": {"Software": _MARK},
    "svg": {"Creator": _MARK, "Date": None},
}

_SETTINGS = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "legend.fontsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "lines.linewidth": 1.3,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": _MARK,  # equal figures give equal files
}


def settings() -> Any:
    """A context within which figures must be created and saved."""
    return matplotlib.rc_context(_SETTINGS)


def line_style(number: int) -> dict[str, Any]:
    """Colour and line style as keyword arguments of `Axes.plot`; repeats after 28 numbers."""
    return {"color": _COLOURS[number % len(_COLOURS)], "linestyle": _LINES[number % len(_LINES)]}


def short(value: float, position: object = None) -> str:
    """Formats a number for an axis: 0.5, 1200 as 1.2k, 2000000 as 2M.

    Args:
      value: the number.
      position: position of the tick, which matplotlib passes; unused.
    """
    del position
    for unit, prefix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= unit:
            return _with_minus(f"{value / unit:.6g}{prefix}")
    return _with_minus(f"{value:.6g}")


def _with_minus(text: str) -> str:
    return text.replace("-", "\N{MINUS SIGN}")


def format_frames(axes: Axes) -> None:
    """Labels the x axis's environment frames like 500k or 1M."""
    axes.xaxis.set_major_formatter(short)


def check_replaceable(stem: pathlib.Path) -> None:
    """Checks that `save` would replace only figures drawn by this project.

    Args:
      stem: path of the figure without the file extension.

    Raises:
      ValueError: it would replace another file.
      OSError: a file cannot be read.
    """
    for ending in _ENDINGS:
        path = stem.with_name(f"{stem.name}.{ending}")
        if path.exists() and _MARK.encode() not in path.read_bytes()[:2048]:
            raise ValueError(f"{path} is no figure of this program's: move it away")


def save(figure: Figure, stem: pathlib.Path) -> list[pathlib.Path]:
    """Writes a figure as STEM.png and STEM.svg; a reader sees the old file or the new one.

    Args:
      figure: the figure, created within `settings`.
      stem: path without the file extension.

    Returns:
      The paths.

    Raises:
      OSError: a file cannot be written.
    """
    paths = []
    for ending, metadata in _ENDINGS.items():
        path = stem.with_name(f"{stem.name}.{ending}")
        temporary = path.with_name(path.name + ".tmp")
        figure.savefig(temporary, format=ending, dpi=200, metadata=metadata)
        figure.set_layout_engine(None)  # keep the layout, which is slow to compute
        os.replace(temporary, path)
        paths.append(path)
    return paths
