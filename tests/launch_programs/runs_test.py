"""The list of runs: states, scores, problems, and how to resume."""

import pathlib
import shlex

import pytest
from rich.console import Console

from environments import TASKS, scores
from launch_programs import runs
from launch_programs import train as train_program
from launch_programs.launching import backends
from launch_programs.run.evaluations import Evaluation, evaluation_name, write_evaluation
from launch_programs.run.run_directory import RunDirectory, write_json
from launch_programs.runs import Run, Score, find_runs, read_run
from tests.launch_programs.command_lines import given, one_line
from tests.launch_programs.rows import episode, learned
from tests.launch_programs.runs import make_run, make_tables

FLAGS = ("--total_environment_frames=6400",)


def save(directory: RunDirectory, step: int) -> None:
    """Makes what the list reads of a checkpoint. A step is 640 frames of the toy suite."""
    (directory.checkpoints / str(step)).mkdir(parents=True)


def entries(path: pathlib.Path) -> dict[str, float]:
    return {str(p): p.stat().st_mtime_ns for p in path.rglob("*")}


def test_a_run_with_a_real_checkpoint(tmp_path: pathlib.Path) -> None:
    path = make_run(tmp_path / "a run", "toy", *FLAGS, steps=5).path
    before = entries(tmp_path)
    assert read_run(path) == Run(
        path=path,
        state="interrupted",
        tasks="toy",
        network="mlp",
        frames=3200,
        total_frames=6400,
        score=None,
        resume=f"python -m launch_programs.train '--logdir={path}'",
    )
    assert entries(tmp_path) == before


def test_states(tmp_path: pathlib.Path) -> None:
    directory = make_tables(tmp_path, "toy", *FLAGS, learner=[learned(1.0, 5120)])
    assert read_run(tmp_path).state == "interrupted"
    assert read_run(tmp_path).frames == 0  # without a checkpoint it starts over
    save(directory, 3)
    save(directory, 4)
    (directory.checkpoints / "broken-9").mkdir()
    (directory.checkpoints / "9.orbax-checkpoint-tmp-0").mkdir()
    assert read_run(tmp_path).frames == 2560

    directory.note_failure("learner/0: killed by SIGKILL\nand more")
    failed = read_run(tmp_path)
    assert (failed.state, failed.problem) == ("failed", "learner/0: killed by SIGKILL")
    assert failed.resume == f"python -m launch_programs.train --logdir={tmp_path}"

    directory.lock()  # started again
    for _ in range(2):  # asking changes nothing
        running = read_run(tmp_path)
        assert (running.state, running.problem, running.resume) == ("running", "", "")
        assert running.frames == 5120
    del directory
    save(RunDirectory(tmp_path), 10)
    finished = read_run(tmp_path)
    assert (finished.state, finished.frames, finished.resume) == ("finished", 6400, "")


def test_the_learners_disk_is_another_one(tmp_path: pathlib.Path) -> None:
    directory = make_tables(tmp_path, "toy", *FLAGS)
    write_json(directory.last_checkpoint, 7)
    assert read_run(tmp_path).frames == 7 * 640


@pytest.mark.parametrize(
    ("program", "flags", "command"),
    [
        (
            "train",
            ["--launch_type=ray", "--ray_resources=learner:CPU=8,GPU=1"],
            "train --logdir=RUN --launch_type=ray --ray_resources=learner:CPU=8,GPU=1",
        ),
        ("cluster_template", [], "cluster_template --logdir=RUN"),
    ],
)
def test_a_run_goes_on_as_it_was_started(
    program: str, flags: list[str], command: str, tmp_path: pathlib.Path
) -> None:
    make_tables(tmp_path, "toy").write_launch(program, flags)
    found = read_run(tmp_path).resume
    assert found == f"python -m launch_programs.{command}".replace("RUN", str(tmp_path))


def test_what_a_start_notes_of_its_flags() -> None:
    """Those that the configuration does not hold, as they were given."""
    flags = [
        "--launch_type=ray",
        "--noprivate_network",
        "--ray_resources=learner:CPU=8,GPU=1",
        "--ray_resources=actor:CPU=2",
    ]
    with given(train_program.define_flags, "--level_name=toy", "--nopopart", *flags):
        assert train_program._given(backends.flag_names()) == flags


def evaluation(run: pathlib.Path, steps: int, means: dict[str, float], **options: float) -> None:
    evaluation = Evaluation(
        name=evaluation_name(str(steps)),
        learner_steps=steps,
        frames=640 * steps,
        greedy=False,
        seed=1,
        tasks=[scores.score(TASKS[task], [mean]) for task, mean in means.items()],
        aggregate=None,
        options=options,
    )
    write_evaluation(RunDirectory(run), evaluation)


def test_scores(tmp_path: pathlib.Path) -> None:
    """The median of three tasks at 0, 50 and 100 % is 50, whatever they were before."""
    half = (TASKS["catch_x100"].random_score or 0) / 2 + 50
    early = [episode(0.0, 0, task, 1e6) for task in ("catch_x1", "catch_x100", "catch_x10000")]
    late = [
        episode(1.0, 640, task, value)
        for task, value in (("catch_x1", -0.6), ("catch_x100", half), ("catch_x10000", 1e4))
        for _ in range(100)
    ]
    make_tables(tmp_path, "toy", actors=early + late)
    score = read_run(tmp_path).score
    assert score is not None
    assert score.value == pytest.approx(50.0)
    assert score[1:] == ("%", "training")
    # The evaluation at the most frames; one with fewer tasks or other options does not count.
    evaluation(tmp_path, 2, dict.fromkeys(SUITE, 1.0))
    evaluation(tmp_path, 1, dict.fromkeys(SUITE, 0.0))
    evaluation(tmp_path, 3, {"catch_x1": -0.6})
    evaluation(tmp_path, 4, dict.fromkeys(SUITE, 0.5), noop_max=0)
    score = read_run(tmp_path).score
    assert score is not None
    # A return of 1 is 100 % of catch_x1, 38.1 % of catch_x100 and 37.5 % of catch_x10000.
    assert score.value == pytest.approx(100 * 61 / 160)
    assert score[1:] == ("%", "evaluation at 1,280")


SUITE = ("catch_x1", "catch_x100", "catch_x10000")


def test_tasks_without_scores_have_a_mean_return(tmp_path: pathlib.Path) -> None:
    rows = [episode(1.0, 0, "gym:CartPole-v1", x) for x in (10.0, 30.0)]
    make_tables(tmp_path, "gym:CartPole-v1", actors=rows)
    assert read_run(tmp_path).score == Score(20.0, "mean return", "training")


def test_what_cannot_be_read_is_listed(tmp_path: pathlib.Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    make_tables(tmp_path / "good", "toy")
    make_tables(tmp_path / "old", "toy").config.write_text('{"tasks": ["pong"]}')
    (make_tables(tmp_path / "table", "toy").path / "actors.csv").write_text("a,b\n1,2\n")
    (make_tables(tmp_path / "evaluated", "toy").path / "evaluation-1.json").write_text("{")
    make_tables(tmp_path / "launched", "toy").launch.write_text("train")
    found = {run.path.name: run for run in find_runs(tmp_path)}
    assert list(found) == ["empty", "evaluated", "good", "launched", "old", "table"]
    assert found.pop("good").state == "interrupted"
    assert {run.state for run in found.values()} == {"unreadable"}
    for name, problem in (
        ("empty", "empty is not a run directory: it has no config.json"),
        ("evaluated", "evaluated/evaluation-1.json is damaged: "),
        ("launched", "launched/launch.json cannot be read: "),
        ("old", "old/config.json: not a configuration of this version: "),
        ("table", "table/actors.csv is damaged: it has no column 'time'"),
    ):
        assert found[name].problem.startswith(f"{tmp_path}/{problem}")


def test_the_list(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_tables(tmp_path / "[a]", "toy", *FLAGS).note_failure("it\tbroke")
    rows = [episode(1.0, 0, "pong", -21.0)]
    make_tables(tmp_path / "b", "pong", "--use_lstm", actors=rows).lock()
    runs.main(["runs", str(tmp_path)])
    header, *found = (line.split("\t") for line in capsys.readouterr().out.splitlines())
    first, second = (dict(zip(header, values, strict=True)) for values in found)
    assert first["run"] == f"{tmp_path}/[a]"
    assert (first["frames"], first["total_frames"]) == ("0", "6400")
    assert (first["state"], first["problem"]) == ("failed", "it broke")
    assert shlex.split(first["resume"])[-1] == f"--logdir={tmp_path}/[a]"
    assert (second["tasks"], second["network"]) == ("pong", "shallow+lstm")
    assert float(second["score"]) == pytest.approx(100 * -0.3 / 35.3)
    assert (second["score_unit"], second["score_from"]) == ("%", "training")

    console = Console(width=120, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    runs.show(find_runs(tmp_path), console)
    shown = console.export_text()
    assert "│ [a] │ failed" in shown
    assert "0 of 6,400 │ 0 %" in shown.replace("  ", " ")
    assert f"{tmp_path}/[a] failed: it" in shown
    assert f"To resume:\n  {first['resume']}\n" in shown
    # The directory of one run lists that run.
    assert find_runs(tmp_path / "b") == [read_run(tmp_path / "b")]


def test_bad_input(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    for arguments, message in (
        ([tmp_path / "x"], "[Errno 2] No such file or directory: "),
        ([tmp_path / "file"], "[Errno 20] Not a directory: "),
        (["a", "b"], "unexpected argument 'b': one directory is listed at a time"),
    ):
        with pytest.raises(SystemExit) as end:
            runs.main(["runs", *map(str, arguments)])
        assert end.value.code == 2
        assert one_line(*capsys.readouterr()).startswith(message)
