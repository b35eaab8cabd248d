"""TensorBoard's event files, beside the run's tables."""

import os
import pathlib
import re
import socket
import struct
import time

from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.proto.summary_pb2 import Summary
from tensorboardX.record_writer import masked_crc32c

from launch_programs.appending import append
from launch_programs.scalars import Scalars

# What TensorBoard allows in a tag; others, such as the colon of gym:ID, become underscores.
_NOT_IN_TAGS = re.compile(r"[^\w./-]")


class EventWriter:
    """Writes scalars into a new event file of a directory.

    Not tensorboardX's writer: an error of the disk ends its thread, and then it blocks.
    """

    def __init__(self, directory: pathlib.Path, first_frame: int):
        """Writes nothing yet.

        Args:
          directory: of the run.
          first_frame: frames that the run begins or goes on with. What earlier files of the
            directory have from there on was not kept, and TensorBoard no longer shows it.
        """
        # TensorBoard reads the files in the order of their names.
        name = f"events.out.tfevents.{time.time():010.0f}.{socket.gethostname()}.{os.getpid()}"
        self._path = directory / name
        start = SessionLog(status=SessionLog.START)
        self._header = b"".join(
            _record(Event(wall_time=time.time(), step=first_frame, **event))
            for event in ({"file_version": "brain.Event:2"}, {"session_log": start})
        )

    def write(self, scalars: Scalars) -> None:
        """Writes scalars at their number of frames.

        Raises:
          OSError: they cannot be written; the file is as before.
        """
        summary = Summary(
            value=[
                Summary.Value(tag=_NOT_IN_TAGS.sub("_", tag), simple_value=value)
                for tag, value in scalars.values.items()
            ]
        )
        event = Event(wall_time=time.time(), step=scalars.frames, summary=summary)
        append(self._path, _record(event), self._header)


def _record(event: Event) -> bytes:
    """An event as a record of TensorFlow's TFRecord format."""
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
