"""Tests of how a node's process ends."""

import subprocess
import sys
import textwrap


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
