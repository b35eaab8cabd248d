"""Nodes that die, as real processes that do nothing else."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from launch_programs.launching.supervisor import (
    WINDOW,
    ProgramFailed,
    RestartLimit,
    Supervisor,
)
from launch_programs.nodes.ending import FINISHED, GIVEN_UP

# Ends cleanly when asked to, as nodes do.
WAITS = "import signal, sys, time; signal.signal(15, lambda *_: sys.exit(0)); print(flush=True); "
SLEEPS = WAITS + "time.sleep(600)"
DEAF = "import signal, time; signal.signal(15, signal.SIG_IGN); print(flush=True); time.sleep(600)"
FINISHES = WAITS + f"time.sleep(1); sys.exit({FINISHED})"
ENDS = WAITS + "time.sleep(1)"


def fails(words: str, code: int = 1) -> str:
    return f"import sys; print('first'); print({words!r}); sys.exit({code})"


class Process:
    """A process with a given program, as a launcher would start a node's."""

    def __init__(self, code: str):
        self.popen = subprocess.Popen(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=os.environ
        )
        assert self.popen.stdout is not None
        self.popen.stdout.readline()  # its signal handler is in place

    def poll(self) -> int | None:
        return self.popen.poll()

    def output(self) -> str:
        assert self.popen.stdout is not None
        return self.popen.stdout.read().strip()

    def stop(self) -> None:
        self.popen.terminate()

    def kill(self) -> None:
        self.popen.kill()
        self.popen.wait()


class Program:
    """A program with given nodes under a supervisor."""

    def __init__(self, max_restarts: int = 2, **nodes: str):
        self.code = {"coordinator/0": SLEEPS, "learner/0": SLEEPS}
        self.code.update({name.replace("_", "/"): code for name, code in nodes.items()})
        self.started: list[tuple[str, Process]] = []
        self.reports: list[tuple[str, str]] = []
        self.stop = threading.Event()
        self.supervisor = Supervisor(
            list(self.code),
            self._start,
            RestartLimit(max_restarts),
            lambda node, text: self.reports.append((node, text)),
            poll_interval=0.02,
        )

    def _start(self, name: str) -> Process:
        process = Process(self.code[name])
        self.started.append((name, process))
        return process

    def processes(self, name: str) -> list[Process]:
        return [process for node, process in self.started if node == name]

    def wait_for(self, name: str, number: int = 1) -> list[Process]:
        """Returns a node's processes once `number` of them have been started."""
        deadline = time.monotonic() + 60
        while len(self.processes(name)) < number and time.monotonic() < deadline:
            time.sleep(0.02)
        return self.processes(name)

    def run(self) -> bool:
        try:
            return self.supervisor.run(self.stop)
        finally:
            assert all(process.poll() is not None for _, process in self.started)


def test_the_coordinators_end_is_the_programs() -> None:
    program = Program(coordinator_0=FINISHES, actor_0=SLEEPS)
    assert program.run()
    assert program.reports == []
    assert [name for name, _ in program.started] == ["coordinator/0", "learner/0", "actor/0"]
    assert [process.poll() for _, process in program.started] == [FINISHED, 0, 0]


def test_a_learner_that_is_slow_to_end_has_saved_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("launch_programs.launching.supervisor.NOTICE", 0.5)
    program = Program(coordinator_0=FINISHES, learner_0=DEAF)
    assert program.run()
    assert [process.poll() for _, process in program.started] == [FINISHED, -signal.SIGKILL]


def test_a_stop_ends_everything_in_order() -> None:
    program = Program(actor_0=SLEEPS)
    threading.Timer(0.5, program.stop.set).start()
    assert not program.run()
    assert [process.poll() for _, process in program.started] == [0, 0, 0]


@pytest.mark.parametrize("node", ["coordinator/0", "learner/0", "queue/0"])
def test_a_node_stopped_from_outside_has_not_finished(node: str) -> None:
    program = Program(queue_0=SLEEPS)
    program.code[node] = ENDS
    with pytest.raises(ProgramFailed) as failure:
        program.run()
    assert str(failure.value) == f"{node}: ended before training had, as if by SIGTERM"
    assert not failure.value.for_good


def test_an_actor_stopped_from_outside_is_started_again() -> None:
    program = Program(actor_0=ENDS, max_restarts=1)
    with pytest.raises(ProgramFailed, match="actor/0: ended before .* it has died too often"):
        program.run()
    assert [node for node, _ in program.reports] == ["actor/0"]


@pytest.mark.parametrize("node", ["actor/1", "evaluator/0"])
def test_a_node_that_others_do_not_need_is_started_again(node: str) -> None:
    program = Program(actor_0=SLEEPS, actor_1=SLEEPS, evaluator_0=SLEEPS)

    def kill() -> None:
        program.wait_for(node)[0].popen.send_signal(signal.SIGKILL)
        program.wait_for(node, 2)
        program.stop.set()

    threading.Timer(0.5, kill).start()
    program.run()
    assert program.reports == [
        (node, "killed by SIGKILL; started again (1 of at most 2 in ten minutes)")
    ]
    assert len(program.processes(node)) == 2
    assert len(program.started) == 6  # no other node was


def test_a_node_that_dies_again_and_again_ends_the_program() -> None:
    program = Program(actor_0=fails("no such game"), max_restarts=2)
    with pytest.raises(ProgramFailed) as failure:
        program.run()
    cause = "ended with exit code 1, no such game"
    assert failure.value.node == "actor/0"
    assert failure.value.cause == f"{cause}; it has died too often"
    assert failure.value.for_good
    assert [text for _, text in program.reports] == [
        f"{cause}; started again ({i} of at most 2 in ten minutes)" for i in (1, 2)
    ]
    assert len(program.processes("actor/0")) == 3


@pytest.mark.parametrize("node", ["learner/0", "queue/0", "coordinator/0"])
def test_without_these_there_is_no_program(node: str) -> None:
    program = Program(queue_0=SLEEPS, actor_0=SLEEPS)
    threading.Thread(
        target=lambda: program.wait_for(node)[0].popen.send_signal(signal.SIGKILL)
    ).start()
    with pytest.raises(ProgramFailed) as failure:
        program.run()
    assert str(failure.value) == f"{node}: killed by SIGKILL"
    assert not failure.value.for_good


def test_what_a_node_gave_up_for_would_come_again() -> None:
    program = Program(coordinator_0=fails("actor/1: environment 3 (pong) failed", GIVEN_UP))
    with pytest.raises(ProgramFailed) as failure:
        program.run()
    assert failure.value.cause == "actor/1: environment 3 (pong) failed"
    assert failure.value.for_good


def test_a_learner_that_could_not_save_at_the_end_is_a_failure() -> None:
    cannot_save = "import signal, sys, time\n"
    cannot_save += "signal.signal(15, lambda *_: (print('disk full', flush=True), sys.exit(1)))\n"
    cannot_save += "print(flush=True)\ntime.sleep(600)"
    program = Program(learner_0=cannot_save)
    threading.Timer(0.5, program.stop.set).start()
    with pytest.raises(ProgramFailed, match="learner/0: ended with exit code 1, disk full"):
        program.run()


def test_a_node_that_does_not_end_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("launch_programs.launching.supervisor.NOTICE", 0.5)
    program = Program(actor_0=DEAF)
    threading.Timer(0.5, program.stop.set).start()
    program.run()
    assert [process.poll() for _, process in program.started] == [0, 0, -signal.SIGKILL]


def test_restarts_are_forgotten_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    limit = RestartLimit(2)
    assert limit.allow("actor/0") == "1 of at most 2 in ten minutes"
    assert limit.allow("actor/0") == "2 of at most 2 in ten minutes"
    assert limit.allow("actor/0") is None
    assert limit.allow("actor/1") == "1 of at most 2 in ten minutes"
    now += WINDOW + 1
    assert limit.allow("actor/0") == "1 of at most 2 in ten minutes"
    assert RestartLimit(0).allow("actor/0") is None
