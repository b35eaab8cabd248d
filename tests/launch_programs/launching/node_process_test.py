"""How a node's process ends."""

import gc
import subprocess
import sys
import textwrap
from collections.abc import Callable

import cloudpickle
import pytest

from launch_programs.launching import node_process
from tests.integration.programs import ROOT


def test_a_process_ends_at_once_with_its_output() -> None:
    # Objects with C++ threads of their own must not be destroyed: neither Python's own end nor a
    # thread that never returns may stand between a node and its exit code.
    program = textwrap.dedent("""
        import atexit, threading
        from launch_programs.launching.node_process import end_process

        atexit.register(print, "Python's own end")
        threading.Thread(target=threading.Event().wait).start()
        print("the last line", end="")
        end_process(3)
    """)
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=120
    )
    assert (ended.returncode, ended.stdout) == (3, "the last line")


def test_a_node_that_is_a_program_of_its_own_collects_garbage() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "launch_programs.launching.node_process", "actor/0"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(cloudpickle.dumps(lambda: print(gc.isenabled())))
        process.stdin.flush()  # stays open: closing it would mean that the launcher ended
        assert process.stdout.read() == b"True\n"


@pytest.mark.parametrize(
    ("raised", "code"),
    [
        (None, 0),
        (SystemExit(3), 3),
        (SystemExit("why"), 1),
        (OSError("why"), 1),
        (KeyboardInterrupt(), 1),
    ],
)
def test_the_exit_code_is_what_the_node_ends_with(
    raised: BaseException | None,
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    codes: list[int] = []
    monkeypatch.setattr(node_process, "end_process", codes.append)

    def run() -> None:
        if raised is not None:
            raise raised

    end: Callable[[Callable[[], object]], object] = node_process.end_after  # returns here
    end(run)
    assert codes == [code]
    assert ("OSError: why" in capsys.readouterr().err) == isinstance(raised, OSError)
