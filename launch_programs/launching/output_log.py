"""Keeps a process's output in a file of bounded size, and the end of it in memory."""

import os
import pathlib
import threading
from typing import IO

# Maximum bytes per file. There are two: the newest and the one before it.
BOUND = 16 * 2**20

# Bytes kept in memory, so that a cause of death is known even if the disk was full.
_KEPT = 2**15

# Seconds to wait for the rest of a dead process's output: one of its children may still hold the
# pipe.
_REST = 1.0


def earlier(path: pathlib.Path) -> pathlib.Path:
    """Path of the file with the output that precedes `path`."""
    return path.with_name(f"{path.name}.old")


class OutputLog:
    """Appends output to a file, which becomes PATH.old when too large, and starts a new one."""

    def __init__(self, path: pathlib.Path):
        """Creates the file, if the disk has room.

        Args:
          path: path of the file; its directory is created.
        """
        self._path = path
        self._end = b""
        self._lost = 0  # bytes that could not be written
        self._lock = threading.Lock()
        self._copier: threading.Thread | None = None
        self.write(b"")

    def copy(self, pipe: IO[bytes]) -> None:
        """Copies a pipe's output in a thread, until the pipe ends."""

        def run() -> None:
            with pipe:
                while data := os.read(pipe.fileno(), 2**16):
                    self.write(data)

        self._copier = threading.Thread(target=run, name=f"output {self._path}", daemon=True)
        self._copier.start()

    def write(self, data: bytes) -> None:
        """Appends `data`; if the disk refuses it, drops it and notes the lost bytes later."""
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
        """The end of the output; complete once the process has ended."""
        if self._copier is not None:
            self._copier.join(_REST)
        with self._lock:
            return self._end.decode(errors="replace")
