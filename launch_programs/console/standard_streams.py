"""Standard streams whose failure does not end the program, such as when a reader goes away."""

import contextlib
import errno
import io
import os
import sys
from typing import Any, TextIO


class _Forgiving(io.RawIOBase):
    """Writes to a descriptor; data that cannot be written is dropped.

    Standard error tells once that standard output is dropped, unless nobody reads it any more.
    """

    def __init__(self, descriptor: int):
        self._descriptor = descriptor
        self._told = descriptor == 2

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        try:
            return os.isatty(self._descriptor)
        except OSError:
            return False

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        try:
            return os.write(self._descriptor, data)
        except BlockingIOError:
            os.set_blocking(self._descriptor, True)  # another program on the terminal unset it
            return self.write(data)
        except OSError as error:
            if not self._told and error.errno != errno.EPIPE:
                self._told = True
                with contextlib.suppress(OSError):
                    os.write(2, f"standard output is lost: {error.strerror}\n".encode())
            return len(data)


def set_up() -> None:
    """Makes sure that `print` never fails in this process.

    Output that cannot be written, because the reader has gone, the disk is full or the stream was
    closed before the start (`>&-`), is dropped; of a full disk, standard error tells. Characters
    that the encoding lacks are escaped.
    """
    for descriptor in range(3):
        _fill(descriptor)
    sys.stdout = _forgiving(sys.stdout, 1)
    sys.stderr = _forgiving(sys.stderr, 2)


def _fill(descriptor: int) -> None:
    """Opens a closed descriptor, so that no file of the program gets its number."""
    try:
        os.fstat(descriptor)
    except OSError:
        null = os.open(os.devnull, os.O_RDWR)
        if null != descriptor:
            os.dup2(null, descriptor)
            os.close(null)
        os.set_inheritable(descriptor, True)


def _forgiving(stream: TextIO | None, descriptor: int) -> TextIO:
    encoding = "utf-8" if stream is None else stream.encoding
    if stream is not None:
        with contextlib.suppress(OSError):
            stream.flush()
    raw = _Forgiving(descriptor)
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=encoding,
        errors="backslashreplace",
        line_buffering=raw.isatty() or descriptor == 2,
    )
