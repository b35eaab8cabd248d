"""Writes TensorBoard event files next to the run's tables."""

import os
import pathlib
import re
import socket
import struct
import time

from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.proto.summary_pb2 import Summary
from tensorboardX.record_writer import masked_crc32c

from launch_programs.run.appending import append
from launch_programs.run.scalars import Scalars

_PREFIX = "events.out.tfevents."

# Characters that TensorBoard does not allow in a tag, such as the colon of gym:ID; they become
# underscores.
_NOT_IN_TAGS = re.compile(r"[^\w./-]")


class EventWriter:
    """Writes scalars to a new event file in a directory.

    tensorboardX's own writer is not used: a disk error ends its thread, and then it blocks.
    """

    def __init__(self, directory: pathlib.Path, first_frame: int):
        """Writes nothing yet.

        Args:
          directory: the run directory.
          first_frame: frames at which the run begins or continues. What earlier event files record
            from there on belongs to training that was lost; TensorBoard no longer shows it.
        """
        # TensorBoard reads the files in order of their names, so the name must be the last even if
        # the clock was set back.
        second = max([int(time.time()), *(n + 1 for n in _seconds(directory))])
        name = f"{_PREFIX}{second:010}.{socket.gethostname()}.{os.getpid()}"
        self._path = directory / name
        start = SessionLog(status=SessionLog.START)
        self._header = b"".join(
            _record(Event(wall_time=time.time(), step=first_frame, **event))
            for event in ({"file_version": "brain.Event:2"}, {"session_log": start})
        )

    def write(self, scalars: Scalars) -> None:
        """Writes scalars at their frame count.

        Raises:
          OSError: they cannot be written; the file is unchanged.
        """
        summary = Summary(
            value=[
                Summary.Value(tag=_NOT_IN_TAGS.sub("_", tag), simple_value=value)
                for tag, value in scalars.values.items()
            ]
        )
        event = Event(wall_time=time.time(), step=scalars.frames, summary=summary)
        append(self._path, _record(event), self._header)


def _seconds(directory: pathlib.Path) -> list[int]:
    """The times in the names of the event files in a directory."""
    names = (path.name.removeprefix(_PREFIX) for path in directory.glob(f"{_PREFIX}*"))
    return [int(second) for name in names if (second := name.partition(".")[0]).isdecimal()]


def _record(event: Event) -> bytes:
    """Encodes an event as a TFRecord record."""
    data = event.SerializeToString()
    length = struct.pack("<Q", len(data))
    return b"".join(
        (
            length,
            struct.pack("<I", masked_crc32c(length)),
            data,
            struct.pack("<I", masked_crc32c(data)),
        )
    )
