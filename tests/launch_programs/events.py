"""Reads event files as TensorBoard itself does."""

import pathlib

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


def written(directory: pathlib.Path) -> dict[str, list[tuple[int, float]]]:
    """Tag -> (frames, value), as TensorBoard shows them."""
    events = EventAccumulator(str(directory), size_guidance={"scalars": 0})
    events.Reload()
    return {
        tag: [(event.step, event.value) for event in events.Scalars(tag)]
        for tag in events.Tags()["scalars"]
    }
