"""Appends to files on a disk that may be full for a while."""

import fcntl
import os
import pathlib
import time
from collections.abc import Callable

# Seconds without a failed write after which a disk counts as free again.
_STEADY = 10.0


def append(path: pathlib.Path, data: bytes, header: bytes = b"") -> None:
    """Appends all of `data` or nothing; several processes may append at once.

    Args:
      path: path of the file, which is created if missing.
      data: whole lines or records.
      header: written first if the file is empty.

    Raises:
      OSError: the data cannot be written; the file is unchanged.
    """
    with path.open("ab", buffering=0) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        size = file.seek(0, os.SEEK_END)
        rest = memoryview(data if size else header + data)
        try:
            while rest:
                rest = rest[file.write(rest) :]
        except OSError:
            file.truncate(size)
            raise


class PatientWriter:
    """Writes to a disk that may be full for a while: drops failed writes and reports them once."""

    def __init__(
        self, tell: Callable[[str], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Writes nothing yet.

        Args:
          tell: called with a line when writing begins to fail, and another when it works again.
          clock: returns the time in seconds.
        """
        self._tell = tell
        self._clock = clock
        self._refused: dict[str, int] = {}  # since writing began to fail
        self._failed_at = 0.0

    def __call__(self, what: str, write: Callable[[], object]) -> bool:
        """Calls `write`; returns whether it succeeded.

        Args:
          what: name of what is written, such as "learner.csv".
          write: raises OSError, having written nothing, if the disk refuses the data.
        """
        try:
            write()
        except OSError as error:
            self._failed_at = self._clock()
            if not self._refused:
                self._tell(
                    f"cannot write {what}: {error}; tables, logs and events pause until the disk "
                    "takes them; training continues"
                )
            self._refused[what] = self._refused.get(what, 0) + 1
            return False
        if self._refused and self._clock() >= self._failed_at + _STEADY:
            missing = ", ".join(f"{number} of {name}" for name, number in self._refused.items())
            self._refused = {}
            self._tell(f"the disk takes data again; writes that are missing: {missing}")
        return True
