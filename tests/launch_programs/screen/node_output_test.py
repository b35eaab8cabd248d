"""Which of the lines that nodes print reach the user."""

import pathlib
from collections.abc import Iterator

import pytest

from launch_programs.run.run_directory import RunDirectory
from launch_programs.screen.node_output import NodeOutput, Parser, Raised

# Lines as the libraries print them, and what the user is shown for each.
WARNINGS = {
    "W1124 13:55:45.123456 140256 api.py:12] deprecated": "warning: deprecated (api.py:12)",
    "E1124 13:55:45.123456 140256 a/b.py:12] no GPU": "error: no GPU (a/b.py:12)",
    "F1124 13:55:45.1 7 c.cc:1] Check failed: x": "fatal: Check failed: x (c.cc:1)",
    "E0000 00:00:1732456545.123456   31992 cuda_dnn.cc:8] twice": "error: twice (cuda_dnn.cc:8)",
    "2026-11-24 13:58:02.410397: W tensorflow/core/x.cc:110] slow": (
        "warning: slow (core/x.cc:110)"
    ),
    "2026-11-24 13:58:02.410397: E external/xla/y.cc:3] bad": "error: bad (xla/y.cc:3)",
    "[2026-11-24 13:58:02,410 W 12 34] memory_monitor.cc:1: low": (
        "warning: memory_monitor.cc:1: low"
    ),
    "2026-11-24 13:58:02,410\tWARNING worker.py:2063 -- old": "warning: worker.py:2063 -- old",
    "/lib/a b/env.py:9: UserWarning: reset() ": "UserWarning: reset() (a b/env.py:9)",
    "DeprecationWarning: gone in 2.0": "DeprecationWarning: gone in 2.0",
    "WARNING:root:the disk is slow": "warning: the disk is slow (root)",
    "warning: the disk is slow": "warning: the disk is slow",
    "ERROR: the disk is gone": "error: the disk is gone",
    "\x1b[33mWARN\x1b[0mING: in \x1b[1mcolour\x1b[0m\x07": "warning: in colour",
    " 10%|#\r 20%|##\rWARNING: over a bar": "warning: over a bar",
}

# What nodes print when all is well, in toy, Atari, Gymnasium, bsuite, threaded and Ray runs, with
# TensorFlow's messages left on.
NOISE = [
    "",
    "Waiting for workers to stop for 10s.",
    "[reverb/cc/platform/tfrecord_checkpointer.cc:567] Loading latest checkpoint from /tmp/tmpx",
    "[reverb/cc/platform/default/server.cc:71] Started replay server on port 37293",
    "[reverb/cc/client.cc:165] Sampler and server are owned by the same process (2609) so Table "
    "unrolls is accessed directly without gRPC.",
    "2026-11-24 13:58:02.410397: I tensorflow/core/util/port.cc:110] oneDNN custom operations are "
    "on. You may see slightly different numerical results. To turn them off, set the environment "
    "variable `TF_ENABLE_ONEDNN_OPTS=0`.",
    "To enable the following instructions: AVX2 AVX512F, in other operations, rebuild TensorFlow.",
    "I1124 13:55:45.123456 140256 xla_bridge.py:925] Unable to initialize backend 'tpu'",
    "I0000 00:00:1732456545.123456   31992 tpu.cc:3] an error: none",
    "no warning: this is how my environment begins its sentences",
    "E1124 14:57:15.123456 140256 x.py:3] Worker groups that did not terminate in time: []",
    "ERROR:absl:Killing entire runtime.",
    "environment 3 of 24 (task 0, catch_x1): RuntimeError: gone",
]

TRACEBACK = """Exception in thread Thread-3:
Traceback (most recent call last):
  File "/x/env.py", line 3, in step
    raise ValueError("WARNING: odd")

  [Previous line repeated 3 more times]
ValueError: WARNING: odd
"""


@pytest.mark.parametrize("line", WARNINGS)
def test_warnings_and_errors(line: str) -> None:
    assert Parser().parse(line) == WARNINGS[line]


@pytest.mark.parametrize("line", NOISE)
def test_noise(line: str) -> None:
    assert Parser().parse(line) is None


def test_a_traceback_is_its_last_line() -> None:
    parser = Parser()
    found = [parser.parse(line) for line in TRACEBACK.splitlines()]
    assert found == [None] * 6 + ["ValueError: WARNING: odd"]
    assert isinstance(found[-1], Raised)
    assert parser.parse("warning: after it") == "warning: after it"


def test_a_traceback_into_which_another_thread_prints() -> None:
    parser = Parser()
    first, second, *rest = TRACEBACK.splitlines()
    lines = [first, second, "INFO: all is well", "WARNING: low", "and so on", *rest]
    found = [parser.parse(line) for line in lines]
    assert [line for line in found if line] == ["warning: low", "ValueError: WARNING: odd"]


@pytest.mark.parametrize("line", ["KeyboardInterrupt", "a.b.Error", "_Odd: x", "jax.errors.E: 3"])
def test_exceptions(line: str) -> None:
    parser = Parser()
    assert parser.parse("Traceback (most recent call last):") is None
    assert parser.parse(line) == line


class Run:
    """A run directory with the output of nodes, and what the user has been shown."""

    def __init__(self, path: pathlib.Path):
        self.directory = RunDirectory(path)
        self.directory.logs.mkdir()
        self.now = 0.0
        self.shown: list[str] = []
        self.output: NodeOutput

    def follow(self) -> None:
        self.output = NodeOutput(self.directory, self.shown.append, clock=lambda: self.now)

    def write(self, node: str, text: str) -> None:
        log = self.directory.logs / node
        log.parent.mkdir(exist_ok=True)
        with log.open("a") as file:
            file.write(text)

    def update(self, later: float = 0.0) -> list[str]:
        """Updates once more, and returns what that shows the user."""
        self.now += later
        before = len(self.shown)
        self.output.update()
        return self.shown[before:]

    def close(self) -> list[str]:
        before = len(self.shown)
        self.output.close()
        return self.shown[before:]


@pytest.fixture
def run(tmp_path: pathlib.Path) -> Iterator[Run]:
    run = Run(tmp_path)
    run.follow()
    yield run


def test_each_message_names_its_node(run: Run) -> None:
    assert run.update() == []
    run.write("actor/1", "hello\nWARNING: one\n")
    run.write("launcher", "WARNING: two\n")
    assert run.update() == ["actor/1: warning: one", "launcher: warning: two"]
    assert run.update() == []
    run.write("learner/0", "WARNING: thr")
    assert run.update() == []
    run.write("learner/0", "ee\nWARNING: fo")
    assert run.update() == ["learner/0: warning: three"]
    run.write("learner/0", "ur")
    assert run.close() == ["learner/0: warning: four"]


def test_a_resumed_run_shows_only_what_is_new(tmp_path: pathlib.Path) -> None:
    run = Run(tmp_path)
    run.write("actor/0", "WARNING: old\n")
    run.write("launcher", "WARNING: old, by a launcher that said more than the next\n")
    run.follow()
    (run.directory.launcher_log).write_text("WARNING: fresh\n")
    run.write("actor/0", "WARNING: new\n")
    assert run.update() == ["actor/0: warning: new", "launcher: warning: fresh"]


def test_what_comes_again_is_counted(run: Run) -> None:
    shown = []
    for i in range(250):
        run.write(f"actor/{i % 3}", f"WARNING: step {i} is slow\n")
        shown += run.update()
    assert shown == [
        "actor/0: warning: step 0 is slow",
        "actor/0: warning: step 0 is slow (10 times)",
        "actor/0: warning: step 0 is slow (100 times)",
    ]
    assert run.close() == ["actor/0: warning: step 0 is slow (250 times)"]


def words(number: int) -> str:
    """A word for a number, without digits."""
    return "".join(chr(ord("a") + int(digit)) for digit in str(number))


def test_a_flood_is_bounded(run: Run) -> None:
    for i in range(5_000):
        run.write("actor/0", f"WARNING: {words(i)}\n")
    shown = run.update()
    assert len(shown) == 30
    assert run.update(later=59.0) == []
    assert run.update(later=1.0) == [f"4,970 more warnings are in {run.directory.logs}"]
    assert run.update(later=60.0) == []
    run.write("actor/0", f"WARNING: {words(7)}\nWARNING: {words(4_999)}\n")
    assert run.update() == []  # one is known, the other was one too many to remember
    assert run.close() == [
        "actor/0: warning: h (2 times)",
        f"1 more warnings are in {run.directory.logs}",
    ]


def test_a_long_message_is_cut(run: Run) -> None:
    run.write("actor/0", f"WARNING: {'x' * 10_000}\n")
    [message] = run.update()
    assert len(message) < 500
    assert message.endswith("xxx...")


def test_an_exception_is_shown_after_a_while(run: Run) -> None:
    run.write("actor/0", TRACEBACK)
    assert run.update() == []
    assert run.update(later=2.0) == []
    assert run.update(later=2.0) == ["actor/0: ValueError: WARNING: odd"]
    assert run.close() == []


def test_an_exception_at_the_end_is_shown_at_the_end(run: Run) -> None:
    run.write("actor/0", TRACEBACK.rstrip("\n"))
    assert run.update() == []
    assert run.close() == ["actor/0: ValueError: WARNING: odd"]


@pytest.mark.parametrize("told_first", [True, False])
def test_an_exception_that_was_told_of_as_a_failure_is_not_told_again(
    run: Run, told_first: bool
) -> None:
    failure = "! actor/0: ended with exit code 1, ValueError: WARNING: odd; started again"
    if told_first:
        run.output.told(failure)
    run.write("actor/0", TRACEBACK)
    run.update()
    run.output.told(failure)
    assert run.update(later=10.0) == []
    run.write("actor/0", TRACEBACK.replace("odd", "another"))
    run.update()
    assert run.update(later=10.0) == ["actor/0: ValueError: WARNING: another"]


def test_of_exceptions_that_led_to_each_other_the_last_is_shown(run: Run) -> None:
    run.write("actor/0", TRACEBACK)
    run.update()
    run.write(
        "actor/0",
        "\nDuring handling of the above exception, another exception occurred:\n\n"
        + TRACEBACK.replace("ValueError", "KeyError"),
    )
    run.update()
    assert run.update(later=10.0) == ["actor/0: KeyError: WARNING: odd"]


def test_two_exceptions_are_both_shown(run: Run) -> None:
    run.write("actor/0", TRACEBACK)
    run.write("actor/0", TRACEBACK.replace("ValueError", "KeyError"))
    assert run.update() == ["actor/0: ValueError: WARNING: odd"]
    assert run.update(later=10.0) == ["actor/0: KeyError: WARNING: odd"]
