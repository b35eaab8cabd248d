"""Checkpoints: the learner's whole state and the run's counts, kept by Orbax."""

import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import orbax.checkpoint as ocp

from agents.popart_impala.popart import PopArtState
from agents.popart_impala.types import Params
from agents.popart_impala.update import TrainingState
from launch_programs.run_directory import RunDirectory

# How many checkpoints are kept: the newest, and those to fall back to.
_MAX_TO_KEEP = 3


class SavedPolicy(NamedTuple):
    """The part of a checkpoint that acts."""

    params: Params
    popart: PopArtState  # statistics of its values
    steps: int  # learner steps
    frames: int  # environment frames


class Checkpointer:
    """Saves and restores in one directory; a checkpoint is there as a whole or not at all."""

    def __init__(self, directory: pathlib.Path, *, read_only: bool = False):
        """Opens the directory, and makes it unless `read_only`."""
        self._manager = ocp.CheckpointManager(
            directory.absolute(),
            options=ocp.CheckpointManagerOptions(
                max_to_keep=None if read_only else _MAX_TO_KEEP,
                create=not read_only,
                read_only=read_only,
                # Saving takes some 30 ms; a write that is under way when a stop is asked for would
                # only complicate matters.
                enable_async_checkpointing=False,
            ),
        )

    @property
    def latest_step(self) -> int | None:
        """Learner step of the newest checkpoint, None without one."""
        return self._manager.latest_step()

    def save(self, state: TrainingState, counts: Mapping[str, float]) -> None:
        """Saves `state` unless a checkpoint of the same step exists.

        Args:
          state: NumPy arrays, as `PopArtIMPALALearner.save` returns.
          counts: of the program's counter.
        """
        if state.steps == self.latest_step:
            return
        self._manager.save(
            state.steps,
            args=ocp.args.Composite(
                state=ocp.args.StandardSave(_arrays(state)),
                info=ocp.args.JsonSave(
                    {"steps": state.steps, "frames": state.frames, "counts": dict(counts)}
                ),
            ),
        )

    def restore(self, like: TrainingState) -> tuple[TrainingState, dict[str, float]] | None:
        """The newest checkpoint's state and counts, None without one.

        Args:
          like: a state of the same structure, shapes and dtypes.
        """
        step = self.latest_step
        if step is None:
            return None
        restored = self._manager.restore(
            step,
            args=ocp.args.Composite(
                state=ocp.args.StandardRestore(_arrays(like)), info=ocp.args.JsonRestore()
            ),
        )
        info = restored.info
        return (
            TrainingState(**restored.state, steps=info["steps"], frames=info["frames"]),
            info["counts"],
        )

    def restore_policy(self) -> SavedPolicy | None:
        """The newest checkpoint's parameters, None without one."""
        step = self.latest_step
        if step is None:
            return None
        restored = self._manager.restore(
            step,
            args=ocp.args.Composite(state=ocp.args.StandardRestore(), info=ocp.args.JsonRestore()),
        )
        return SavedPolicy(
            restored.state["params"],
            PopArtState(**restored.state["popart"]),
            restored.info["steps"],
            restored.info["frames"],
        )


def _arrays(state: TrainingState) -> dict[str, Any]:
    return {"params": state.params, "opt_state": state.opt_state, "popart": state.popart}


def has_checkpoint(directory: RunDirectory) -> bool:
    """Whether there is a checkpoint in a run's directory."""
    return (
        directory.checkpoints.is_dir()
        and Checkpointer(directory.checkpoints, read_only=True).latest_step is not None
    )


def restore_policy(directory: RunDirectory) -> SavedPolicy:
    """The newest policy of a run.

    Raises:
      ValueError: the run has no checkpoint.
    """
    policy = None
    if directory.checkpoints.is_dir():
        policy = Checkpointer(directory.checkpoints, read_only=True).restore_policy()
    if policy is None:
        raise ValueError(
            f"{directory.path} has no checkpoint yet: train it first, with "
            f"python -m launch_programs.train --logdir={directory.path}"
        )
    return policy
