"""TensorBoard's event files, beside the run's tables."""

import pathlib
import re

import tensorboardX

from launch_programs.scalars import Scalars

# Seconds until what is written can be seen.
_FLUSH_SECONDS = 10

# What TensorBoard allows in a tag; others, such as the colon of gym:ID, become underscores.
_NOT_IN_TAGS = re.compile(r"[^\w./-]")


class EventWriter:
    """Writes scalars into a new event file of a directory."""

    def __init__(self, directory: pathlib.Path, first_frame: int):
        """Opens the file.

        Args:
          directory: of the run.
          first_frame: frames that the run begins or goes on with. What earlier files of the
            directory have from there on was not kept, and TensorBoard no longer shows it.
        """
        self._writer = tensorboardX.SummaryWriter(
            str(directory), purge_step=first_frame, flush_secs=_FLUSH_SECONDS
        )

    def write(self, scalars: Scalars) -> None:
        """Writes scalars at their number of frames."""
        for tag, value in scalars.values.items():
            self._writer.add_scalar(_NOT_IN_TAGS.sub("_", tag), value, scalars.frames)

    def close(self) -> None:
        """Writes what is not written yet."""
        self._writer.close()
