"""Becomes another program, which gets SIGTERM when the process that started it ends.

    python -m benchmarks.until_parent_ends PARENT COMMAND...

This stops a program cleanly even if its parent, with process id PARENT, is killed.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1  # linux/prctl.h; kept by exec


def main() -> None:
    """Replaces this process."""
    parent, *command = sys.argv[1:]
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM) != 0:
        raise OSError(ctypes.get_errno(), "prctl failed")
    if os.getppid() != int(parent):  # it ended before the line above
        sys.exit(128 + signal.SIGTERM)
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
