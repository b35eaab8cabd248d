"""The report's page and its sources; `report_browser_test` opens a page."""

import html.parser
import pathlib
from typing import Any

import pytest

from launch_programs import report
from launch_programs.run import provenance
from launch_programs.run.evaluations import read_evaluations
from launch_programs.run.failure_log import FailureLog
from launch_programs.run.run_directory import RunDirectory, write_json
from launch_programs.views.report_contents import (
    MAX_FAILURES,
    Setting,
    read_contents,
    read_videos,
    settings,
)
from tests.launch_programs.command_lines import given, refused
from tests.launch_programs.runs import make_tables

SCORE = {
    "task": "catch_x1",
    "episodes": 3,
    "mean": 0.33,
    "standard_deviation": 1.25,
    "random": -0.6,
    "human": 1.0,
    "human_normalised": 58.125,
}


def evaluation(directory: RunDirectory, name: str, steps: int, **changes: Any) -> None:
    values = {
        "learner_steps": steps,
        "frames": 640 * steps,
        "greedy": False,
        "seed": 1,
        "tasks": [SCORE],
        "human_normalised": {"mean": 58.125, "median": 58.125, "capped_mean": 58.125},
    }
    write_json(directory.path / f"evaluation-{name}.json", {**values, **changes})


VOID = {"meta", "link", "img"}


class Page(html.parser.HTMLParser):
    """Parses a page strictly: every element is closed, in order, and no id occurs twice."""

    def __init__(self, text: str):
        super().__init__()
        self._open: list[str] = []
        self.ids: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self._open == []
        assert len(set(self.ids)) == len(self.ids)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        assert len(dict(attributes)) == len(attributes)
        self.tags.append((tag, dict(attributes)))
        self.ids += [value or "" for name, value in attributes if name == "id"]
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag
        if tag in ("td", "th"):
            self.text += " "

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] != "style":
            self.text += data


def page_of(directory: RunDirectory) -> Page:
    return Page(report.report(directory).read_text())


def test_a_run_that_has_only_begun(tmp_path: pathlib.Path) -> None:
    directory = make_tables(tmp_path / "run", "toy")
    page = page_of(directory)
    for text in (
        "0 of 12,000,000 (0.0%)",
        "The run has not been evaluated.",
        "There are none; python -m launch_programs.evaluate --logdir=RUN --video makes them.",
        "No training episode has ended yet.",
        "The learner has written no row yet.",
        "None was recorded.",
        "Not recorded: the run was trained by an earlier version.",
    ):
        assert text in page.text
    assert not any(tag in ("img", "video", "script") for tag, _ in page.tags)


def test_text_is_escaped(tmp_path: pathlib.Path) -> None:
    evil = "<script>alert(1)</script>&\"'"
    directory = make_tables(tmp_path / evil.replace("/", "|"), "toy")
    evaluation(directory, "5", 5, tasks=[{**SCORE, "task": evil}], attention={evil: [1.0]})
    FailureLog(directory).add("actor/0", evil)
    entry = provenance.describe(0)
    entry["code"] = {"unknown": evil}
    entry["machine"]["cpu"] = evil
    entry["packages"] = {"jax": evil, evil: "1"}
    write_json(directory.provenance, [entry, entry])
    page = page_of(directory)
    assert not any(tag == "script" for tag, _ in page.tags)
    assert page.text.count(evil) >= 8
    assert f"{evil.replace('/', '|')}" in page.text


def test_scores_are_those_of_the_newest_evaluation(tmp_path: pathlib.Path) -> None:
    directory = make_tables(tmp_path, "toy")
    evaluation(directory, "12", 12, seed=7, greedy=True)
    evaluation(directory, "5", 5)
    evaluation(directory, "5-2", 5, human_normalised=None)
    assert [e.name for e in read_evaluations(directory)] == [
        "evaluation-12.json",
        "evaluation-5-2.json",
        "evaluation-5.json",
    ]
    text = " ".join(page_of(directory).text.split())
    assert "evaluation-12.json: after 7,680 frames, likeliest actions, seed 7" in text
    assert "catch_x1 3 0.3 1.2 -0.6 1.0 58.1" in text
    assert "optimum-normalised over tasks: mean 58.1 %, median 58.1 %, capped mean 58.1 %" in text
    assert "Earlier evaluations (2)" in text


def test_tasks_without_scores_to_compare_with(tmp_path: pathlib.Path) -> None:
    directory = make_tables(tmp_path, "pong")
    row = {**SCORE, "random": None, "human": None, "human_normalised": None}
    evaluation(directory, "5", 5, tasks=[row], human_normalised=None)
    text = " ".join(page_of(directory).text.split())
    assert "random human human-normalised % catch_x1 3 0.3 1.2 - - -" in text
    assert "over tasks" not in text


def test_settings_beside_their_defaults(tmp_path: pathlib.Path) -> None:
    flags = ("--learning_rate=0.01", "--nopopart", "--seed=3", "--subnets=2")
    directory = make_tables(tmp_path / "a", "pong,seaquest", "--network=attentive", *flags)
    rows = {row.name: row for row in settings(directory.read_config())}
    assert {name for name, row in rows.items() if row.differs} == {
        "network",
        "learning_rate",
        "popart",
        "seed",
        "subnets",
    }
    assert rows["learning_rate"] == Setting("learning_rate", "0.01", "0.001", True)
    assert rows["network"] == Setting("network", "attentive", "shallow", True)
    assert rows["subnets"] == Setting("subnets", "2", "none", True)
    assert rows["tasks"] == Setting("tasks", "pong, seaquest", "", False)
    assert rows["total_environment_frames"].default == "12,000,000"
    page = page_of(directory)
    marks = [i for i, (tag, _) in enumerate(page.tags) if tag == "mark"]
    assert len(marks) == 10  # of five settings, in the short table and in the full one


@pytest.mark.parametrize("level", ["pong", "toy", "minatar", "gym:CartPole-v1"])
def test_a_run_with_nothing_but_defaults(tmp_path: pathlib.Path, level: str) -> None:
    directory = make_tables(tmp_path, level)
    assert [row for row in settings(directory.read_config()) if row.differs] == []
    assert "All that have a default have it." in page_of(directory).text


def test_failures_are_shown_up_to_a_number(tmp_path: pathlib.Path) -> None:
    directory = make_tables(tmp_path, "toy")
    log = FailureLog(directory)
    for i in range(MAX_FAILURES + 3):
        log.add(f"actor/{i}", "died, with a comma")
    contents = read_contents(directory)
    assert [row["node"] for row in contents.failures] == [
        f"actor/{i}" for i in range(3, MAX_FAILURES + 3)
    ]
    assert contents.failures[0]["time"].endswith(" UTC")
    text = " ".join(page_of(directory).text.split())
    assert "3 earlier rows of failures.csv are left out" in text


def test_videos_up_to_a_size(tmp_path: pathlib.Path) -> None:
    directory = make_tables(tmp_path, "toy")
    directory.videos.mkdir()

    def video(task: str, steps: int, size: int | None) -> dict[str, dict[str, str]]:
        name = f"videos/{task}-{steps}.mp4"
        if size is not None:
            (tmp_path / name).write_bytes(b"0" * size)
        return {task: {"mp4": name, "gif": "videos/x.gif"}}

    older = {**video("catch_x1", 5, 10), **video("catch_x100", 5, 800)}
    evaluation(directory, "5", 5, videos=older)
    newer = {**video("catch_x1", 12, 300), **video("catch_x10000", 12, None)}
    evaluation(directory, "12", 12, videos=newer)
    evaluation(directory, "20", 20)
    tasks = directory.read_config().tasks
    videos = read_videos(directory, tasks, read_evaluations(directory), limit=1000)
    assert [(v.task, v.evaluation.learner_steps, bool(v.uri), v.left_out) for v in videos] == [
        ("catch_x1", 12, True, ""),
        ("catch_x100", 5, False, "it has 0.0 MB, and a page at most 0.001 MB of videos"),
        ("catch_x10000", 12, False, "the file is not there any more"),
    ]
    page = page_of(directory)
    assert [tag for tag, _ in page.tags].count("video") == 2
    text = " ".join(page.text.split())
    assert (
        "catch_x10000, first episode of evaluation-12.json: left out, the file is not there any "
        "more (videos/catch_x10000-12.mp4)" in text
    )


def test_what_it_was_trained_with(tmp_path: pathlib.Path) -> None:
    directory = make_tables(tmp_path, "toy")
    provenance.record(directory, 0)
    first, second = provenance.describe(0), provenance.describe(640)
    first["code"] = {"commit": "a" * 40, "modified": False}
    second["code"] = {"commit": "b" * 40, "modified": True}
    second["machine"]["accelerators"] = ["NVIDIA A100", "NVIDIA A100"]
    write_json(directory.provenance, [first, second])
    text = " ".join(page_of(directory).text.split())
    assert f"git commit {'b' * 40}, with changes that are not committed processor" in text
    assert "accelerators NVIDIA A100, NVIDIA A100 system" in text
    assert "All 2 starts of the learner" in text
    assert f" 0 {'a' * 40} " in text


def test_the_file(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    directory = make_tables(tmp_path / "run", "toy")
    with given(report.define_flags):
        report.main(["report", str(directory.path)])
        report.main(["report", str(directory.path)])  # replaces its own file
    line = f"written to {directory.path}/report.html: 0.0 MB\n"
    assert capsys.readouterr().out == 2 * line
    with given(report.define_flags, f"--output={tmp_path}/else.html"):
        report.main(["report", str(directory.path)])
    assert {p.name for p in tmp_path.iterdir()} == {"run", "else.html"}
    assert not any(p.suffix == ".tmp" for p in directory.path.iterdir())


def test_bad_input(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    def refusal(*arguments: str) -> str:
        return refused(report, capsys, *arguments)

    usage = "one run directory must be given: python -m launch_programs.report RUN"
    assert refusal() == usage
    assert refusal("a", "b") == usage
    assert refusal(str(tmp_path)) == (f"{tmp_path} is not a run directory: it has no config.json")
    directory = make_tables(tmp_path / "run", "toy")
    mine = tmp_path / "mine.html"
    mine.write_text("<!doctype html><title>mine</title>")
    assert refusal(str(directory.path), f"--output={mine}") == (
        f"{mine} is no report of this program's: move it away"
    )
    assert mine.read_text() == "<!doctype html><title>mine</title>"
    nowhere = tmp_path / "no" / "such.html"
    assert "No such file or directory" in refusal(str(directory.path), f"--output={nowhere}")
    for name, text, message in (
        ("evaluation-5.json", "{", "is damaged: JSONDecodeError: "),
        ("evaluation-5.json", "{}", "is damaged: KeyError: 'learner_steps'"),
        ("provenance.json", "[1]", "is damaged: it must be a list of objects with "),
        ("last-checkpoint", "x", "is damaged: invalid literal for int()"),
        ("failures.csv", "when,node\n1,2\n", "is damaged: "),
    ):
        (directory.path / name).write_text(text)
        assert refusal(str(directory.path)).startswith(f"{directory.path / name} {message}")
        (directory.path / name).unlink()
    assert not directory.report.exists()
