"""Draws figures of runs into files."""

import pathlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from environments import Task
from environments.scores import RECENT_EPISODES
from launch_programs.run.evaluations import Evaluation
from launch_programs.run.history import read_history
from launch_programs.run.population import PopulationConfig, PopulationDirectory, Row
from launch_programs.run.run_directory import RunDirectory, check_output
from launch_programs.views.curves import Group

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_run(directory: RunDirectory) -> list[pathlib.Path]:
    """Draws figures of one run into its own directory.

    Args:
      directory: directory of the run.

    Returns:
      The files, none if the run has no rows yet.

    Raises:
      ValueError: there is no run, a table is damaged, or a figure would replace another file.
      OSError: a file cannot be read or written.
    """
    history = read_history(directory.path)
    if not history.frames:
        return []
    return draw([Group("", (history,))], directory.plots, RECENT_EPISODES)


def draw_checkpoints(
    directory: RunDirectory, tasks: Sequence[Task], evaluations: Sequence[Evaluation]
) -> list[pathlib.Path]:
    """Draws evaluations of several checkpoints into the run's directory, as "checkpoints".

    Args:
      directory: directory of the run.
      tasks: the tasks that were played.
      evaluations: evaluations on these tasks, oldest checkpoint first.

    Returns:
      The files.

    Raises:
      ValueError, OSError: as `draw_run`.
    """
    from launch_programs.views import figures

    return _save(directory.plots, lambda: figures.draw_checkpoints(tasks, evaluations))


def draw_population(
    directory: PopulationDirectory, config: PopulationConfig, rows: Sequence[Row]
) -> list[pathlib.Path]:
    """Draws a population into its own directory, as "population".

    Args:
      directory: directory of the population.
      config: settings of the population.
      rows: rows of its table, at least one.

    Returns:
      The files.

    Raises:
      ValueError, OSError: as `draw_run`.
    """
    from launch_programs.views import figures

    return _save(directory.plots, lambda: figures.draw_population(config, rows))


def draw(groups: Sequence[Group], place: pathlib.Path, episodes: int) -> list[pathlib.Path]:
    """Draws groups of runs.

    Args:
      groups: the groups, one curve each.
      place: directory for the figures, created if missing.
      episodes: number of episodes that each return is the mean of.

    Returns:
      The files.

    Raises:
      ValueError: `place` cannot be created, or a figure would replace another file.
      OSError: a file cannot be written.
    """
    from launch_programs.views import figures

    return _save(place, lambda: figures.draw(groups, episodes))


def _save(
    place: pathlib.Path, draw_figures: Callable[[], dict[str, "Figure"]]
) -> list[pathlib.Path]:
    # matplotlib takes half a second to import, and only drawing needs it.
    from launch_programs.views import figure_style

    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(
            f"{place} cannot be written: {error.strerror}; give another place as --output"
        ) from error
    check_output(place)
    with figure_style.settings():
        drawn = draw_figures()
        for name in drawn:
            figure_style.check_replaceable(place / name)
        return [
            path
            for name, figure in drawn.items()
            for path in figure_style.save(figure, place / name)
        ]
