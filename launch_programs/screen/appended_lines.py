"""Reads files that other processes append to, line by line."""

import pathlib

# Maximum bytes per read: if a file has grown by more, only its end is read.
_MAX_BYTES = 2**20


class LineFollower:
    """Returns each line of a growing file once, when it is complete."""

    def __init__(self, path: pathlib.Path, start: int = 0):
        """Reads nothing yet; the file need not exist.

        Args:
          path: path of the file.
          start: byte offset to begin at.
        """
        self._path = path
        self._read = start

    def new_lines(self, last: bool = False) -> list[str]:
        """The lines added since the last call, without line ends.

        Args:
          last: whether the file is finished, so that an unterminated line counts.
        """
        try:
            size = self._path.stat().st_size
        except FileNotFoundError:
            return []
        if size < self._read:  # started over
            self._read = 0
        if size == self._read:
            return []
        skip = size - self._read > _MAX_BYTES
        if skip:
            self._read = size - _MAX_BYTES
        with self._path.open("rb") as file:
            file.seek(self._read)
            data = file.read(_MAX_BYTES)
        complete = data if last else data[: data.rfind(b"\n") + 1]
        self._read += len(complete)
        lines = complete.decode(errors="replace").split("\n")
        if lines[-1] == "":
            lines.pop()
        return lines[1:] if skip else lines
