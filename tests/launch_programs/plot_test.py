"""Figures of runs: their contents, their files, and refused input."""

import io
import pathlib
from collections.abc import Sequence
from xml.etree import ElementTree

import numpy as np
import PIL.Image
import pytest
from matplotlib.text import Text

from environments import SUITES
from launch_programs import plot
from launch_programs.run.history import read_history
from launch_programs.run.metrics import Row
from launch_programs.run.run_directory import RunDirectory
from launch_programs.views import curves, drawing, figure_style, figures
from tests.launch_programs.command_lines import given, refused
from tests.launch_programs.rows import episode
from tests.launch_programs.runs import make_tables

COLUMNS = [panel.column for panel in figures._LEARNER_PANELS]


def make_trained(
    path: pathlib.Path, level: str, tasks: Sequence[str], *flags: str, level_of_returns: float = 0.0
) -> RunDirectory:
    """A run of 64,000 frames; the i-th task's returns rise from `level_of_returns` by 100 i."""
    random = np.random.default_rng(1)
    actors = [
        episode(f / 640, f, task, level_of_returns + 100 * i * f / 64_000)
        for f in range(0, 64_000, 640)
        for i, task in enumerate(tasks)
    ]
    learner: list[Row] = [
        {
            "time": f / 640,
            "frames": f,
            **{name: float(random.uniform(1, 2)) for name in COLUMNS},
            "skipped_updates": 0,
            **{f"mu/{task}": f / 1_000 for task in tasks},
            **{f"sigma/{task}": float(f) for task in tasks},
        }
        for f in range(640, 64_001, 640)
    ]
    return make_tables(path, level, *flags, actors=actors, learner=learner)


def texts(path: pathlib.Path) -> list[str]:
    """All text in an SVG file."""
    root = ElementTree.parse(path).getroot()
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    return ["".join(element.itertext()) for element in root.iter() if element.tag.endswith("}text")]


def test_two_groups_of_seeds(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    toy = SUITES["toy"]
    for name, flags in (
        ("a1", ("--seed=1",)),
        ("a2", ("--seed=2",)),
        ("b", ("--nopopart",)),
    ):
        make_trained(tmp_path / name, "toy", toy, *flags)
    output = tmp_path / "figures"
    with given(plot.define_flags, f"--output={output}"):
        plot.main(["plot", *(str(tmp_path / name) for name in ("a1", "a2", "b"))])
    names = {"returns", "normalised", "popart_mu", "popart_sigma", "learner"}
    files = {f"{name}.{ending}" for name in names for ending in ("png", "svg")}
    assert {path.name for path in output.iterdir()} == files
    printed = capsys.readouterr().out.splitlines()
    assert {line.removeprefix(f"written to {output}/") for line in printed} == files
    for name in names:
        with PIL.Image.open(output / f"{name}.png") as image:
            image.load()
            assert image.format == "PNG"
            assert image.width == 1400  # 7 inches
        words = texts(output / f"{name}.svg")
        assert "popart=True (2 runs)" in words
        assert ("popart=False (1 run)" in words) == (not name.startswith("popart"))
        assert "environment frames" in words
        if name not in ("normalised", "learner"):
            assert set(toy) <= set(words)
    assert {"random", "optimum", "return (mean of 100 episodes)"} <= set(
        texts(output / "returns.svg")
    )
    assert {"median over tasks", "mean over tasks", "optimum-normalised return (%)"} <= set(
        texts(output / "normalised.svg")
    )
    assert {"entropy (nats)", "policy lag (learner steps)", "frames per second"} <= set(
        texts(output / "learner.svg")
    )


def test_lines_and_bands_are_the_runs(tmp_path: pathlib.Path) -> None:
    """Compares the drawn numbers with those that the tables were made from."""
    task = "catch_x1"
    for i in range(3):
        make_trained(tmp_path / str(i), task, [task], f"--seed={i}", level_of_returns=10.0 * i**2)
    groups = curves.group([read_history(tmp_path / str(i)) for i in range(3)])
    with figure_style.settings():
        drawn = figures.draw(groups, window=100)
    (axes,) = drawn["returns"].axes
    x, y = np.asarray(axes.lines[0].get_data())
    assert x[-1] == 64_000
    np.testing.assert_allclose(y, (0 + 10 + 40) / 3)  # task 0 does not rise
    band = np.asarray(axes.collections[0].get_paths()[0].vertices)
    assert (band[:, 1].min(), band[:, 1].max()) == (0, 40)
    (axes,) = drawn["popart_sigma"].axes
    x, y = np.asarray(axes.lines[0].get_data())
    np.testing.assert_allclose(y[1:], x[1:])
    assert axes.get_yscale() == "log"


def test_a_reference_out_of_reach_is_written(tmp_path: pathlib.Path) -> None:
    make_trained(tmp_path, "pong,seaquest", ["pong", "seaquest"])
    with figure_style.settings():
        drawn = figures.draw(curves.group([read_history(tmp_path)]), window=1)
    pong, seaquest = drawn["returns"].axes
    assert pong.get_title(loc="left") == "pong"
    assert [text.get_text() for text in seaquest.texts] == ["human 42.1k \N{UPWARDS ARROW}"]
    assert seaquest.get_ylim()[1] < 1_000  # returns rise to 100


@pytest.mark.parametrize(("popart", "level"), [(False, "catch_x1"), (True, "gym:CartPole-v1")])
def test_what_a_run_does_not_have_is_not_drawn(
    popart: bool, level: str, tmp_path: pathlib.Path
) -> None:
    make_trained(tmp_path, level, [level], *([] if popart else ["--nopopart"]))
    with figure_style.settings():
        drawn = figures.draw(curves.group([read_history(tmp_path)]), window=100)
    assert ("popart_mu" in drawn) == ("popart_sigma" in drawn) == popart
    assert ("normalised" in drawn) == (level == "catch_x1")
    assert {"returns", "learner"} <= set(drawn)


@pytest.mark.parametrize(("table", "names"), [("actors", {"returns"}), ("learner", {"learner"})])
def test_one_table_is_enough(table: str, names: set[str], tmp_path: pathlib.Path) -> None:
    directory = make_trained(tmp_path, "catch_x1", ["catch_x1"], "--nopopart")
    (directory.path / f"{'learner' if table == 'actors' else 'actors'}.csv").unlink()
    drawn = drawing.draw_run(directory)
    assert names <= {path.stem for path in drawn} <= {*names, "normalised"}
    assert sorted(directory.plots.iterdir()) == sorted(drawn)


def test_a_run_without_rows_has_no_plots(tmp_path: pathlib.Path) -> None:
    directory = make_tables(tmp_path, "toy")
    assert drawing.draw_run(directory) == []
    assert not directory.plots.exists()


def test_figures_are_replaced_and_nothing_else(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [episode(f, f, "catch_x1", 1.0) for f in range(0, 6_400, 640)]
    directory = make_tables(tmp_path, "catch_x1", actors=rows)
    first = {path: path.read_bytes() for path in drawing.draw_run(directory)}
    assert {path: path.read_bytes() for path in drawing.draw_run(directory)} == first
    mine = directory.plots / "normalised.png"
    buffer = io.BytesIO()
    PIL.Image.new("L", (8, 8)).save(buffer, "PNG")
    mine.write_bytes(buffer.getvalue())
    message = refused(plot, capsys, str(tmp_path))
    assert message == f"{mine} is no figure of this program's: move it away"
    assert mine.read_bytes() == buffer.getvalue()
    assert (directory.plots / "returns.png").read_bytes() == first[directory.plots / "returns.png"]


def test_curves_that_end_with_the_shortest_run_are_said(tmp_path: pathlib.Path) -> None:
    for name, end in (("long", 64_000), ("short", 6_400)):
        rows = [episode(float(f), f, "catch_x1", 1.0) for f in range(0, end + 1, 640)]
        make_tables(tmp_path / name, "catch_x1", actors=rows)
    groups = curves.group([read_history(tmp_path / name) for name in ("long", "short")])
    assert plot.ends(groups) == [
        f"note: curves end where {tmp_path}/short ends, at 6,400 frames",
    ]
    assert plot.ends(curves.group([read_history(tmp_path / "long")])) == []


@pytest.mark.slow
@pytest.mark.filterwarnings("error:constrained_layout")
def test_many_tasks(tmp_path: pathlib.Path) -> None:
    """A page with a panel for each Atari game; none of them is squeezed to nothing."""
    games = SUITES["atari57"]
    directory = make_trained(tmp_path, "atari57", games)
    with figure_style.settings():
        drawn = figures.draw(curves.group([read_history(directory.path)]), window=100)
        assert set(drawn) == {"returns", "normalised", "popart_mu", "popart_sigma", "learner"}
        for name in ("returns", "popart_mu", "popart_sigma"):
            written = drawn[name].findobj(Text)
            assert set(games) <= {text.get_text() for text in written if isinstance(text, Text)}
        figure = drawn["returns"]
        figure.draw_without_rendering()
    assert len(figure.axes) == 57
    for axes in figure.axes:
        box = axes.get_window_extent()
        assert min(box.width, box.height) / figure.dpi > 0.5  # inches


def test_bad_input(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    toy = make_trained(tmp_path / "toy", "catch_x1", ["catch_x1"]).path
    pong = make_trained(tmp_path / "pong", "pong", ["pong"]).path
    empty = make_tables(tmp_path / "empty", "toy").path
    (tmp_path / "file").write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    for arguments, message in (
        ([], "no run directory given: python -m launch_programs.plot RUN [RUN ...]"),
        ([tmp_path], f"{tmp_path} is not a run directory: it has no config.json"),
        ([toy, tmp_path / "x"], f"{tmp_path}/x is not a run directory: it has no config.json"),
        ([empty], f"{empty} has no rows yet: nothing is there to draw"),
        ([toy, f"{toy}/"], f"{toy}/ is given more than once"),
        ([toy, pong], "runs of one domain can be drawn together, but these are not: "),
        ([toy, f"--output={tmp_path}/file"], f"{tmp_path}/file cannot be written: "),
        ([toy, f"--output={tmp_path}/file/below"], f"{tmp_path}/file/below cannot be written: "),
        (
            [toy, "--output=/proc/plots"],
            "/proc/plots cannot be written: No such file or directory; give ",
        ),
    ):
        assert refused(plot, capsys, *map(str, arguments)).startswith(message)
    assert sorted(tmp_path.rglob("*")) == before
