"""What a process prints, in a file of bounded size and, its end, in memory."""

import os
import pathlib
import threading
from typing import IO

# Bytes of a file, of which there are two: the newest, and the one before.
BOUND = 16 * 2**20

# Bytes that are kept in memory: the cause of a death, whatever the disk took.
_KEPT = 2**15

# Seconds that the rest of a dead process's output is waited for: a child of its may still have the
# pipe.
_REST = 1.0


def earlier(path: pathlib.Path) -> pathlib.Path:
    """Where the output before that in `path` is."""
    return path.with_name(f"{path.name}.old")


class OutputLog:
    """Appends output to a file; when that is too large, it becomes PATH.old, and another begins."""

    def __init__(self, path: pathlib.Path):
        """Makes the file, if the disk takes it.

        Args:
          path: of the file; its directory is made.
        """
        self._path = path
        self._end = b""
        self._lost = 0  # bytes that the disk did not take
        self._lock = threading.Lock()
        self._copier: threading.Thread | None = None
        self.write(b"")

    def copy(self, pipe: IO[bytes]) -> None:
        """Takes what comes through a pipe, in a thread, until it ends."""

        def run() -> None:
            with pipe:
                while data := os.read(pipe.fileno(), 2**16):
                    self.write(data)

        self._copier = threading.Thread(target=run, name=f"output {self._path}", daemon=True)
        self._copier.start()

    def write(self, data: bytes) -> None:
        """Appends; what the disk does not take is left out, and counted in the file later."""
        with self._lock:
            self._end = (self._end + data)[-_KEPT:]
            if self._lost:
                data = f"\n[{self._lost:,} bytes could not be written]\n".encode() + data
            try:
                self._append(data)
            except OSError:
                self._lost += len(data)
            else:
                self._lost = 0

    def _append(self, data: bytes) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        if self._path.exists() and self._path.stat().st_size + len(data) > BOUND:
            os.replace(self._path, earlier(self._path))
        with self._path.open("ab", buffering=0) as file:
            rest = memoryview(data)
            while rest:
                rest = rest[file.write(rest) :]

    def end(self) -> str:
        """The last that was printed; of a process that has ended, really the last."""
        if self._copier is not None:
            self._copier.join(_REST)
        with self._lock:
            return self._end.decode(errors="replace")
