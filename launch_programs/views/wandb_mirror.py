"""Copies a run's metrics from the run directory to Weights & Biases (`--wandb`) as they arrive.

This happens in the process that the user started, since nodes may have no network.
"""

import json
import os
import pathlib
from collections.abc import Sequence

import wandb

from environments.scores import TaskScore, aggregate
from launch_programs.run.metrics import TableFollower
from launch_programs.run.run_config import RunConfig, flatten
from launch_programs.run.run_directory import RunDirectory, write_json
from launch_programs.run.scalars import ScalarStream

# The project, if $WANDB_PROJECT names none.
_PROJECT = "popart-impala"

# Episodes come first: a learner row covers the training episodes that ended before it.
_TABLES = ("actors", "evaluator", "learner")


class WandbMirror:
    """Sends a run's rows to Weights & Biases.

    W&B's own settings are environment variables, such as WANDB_PROJECT, WANDB_ENTITY and
    WANDB_MODE=offline. A resumed run continues as the same run there.
    """

    def __init__(self, config: RunConfig, directory: RunDirectory):
        """Starts or resumes the run there.

        Args:
          config: configuration of the run.
          directory: directory of the run, already claimed by this process.

        Raises:
          ValueError: Weights & Biases refuses, for lack of a key, say, or cannot be reached.
        """
        self._directory = directory.path
        self._stream = ScalarStream(config)
        self._followers = {table: TableFollower(directory.tables[table]) for table in _TABLES}
        identity = directory.path / "wandb" / "run.json"
        if identity.exists():
            run_id = json.loads(identity.read_text())
            for follower in self._followers.values():
                follower.new_rows()  # already sent before the run was resumed
        else:
            run_id = wandb.util.generate_id()
        os.environ["WANDB_SILENT"] = "true"  # `silent` below takes effect too late
        identity.parent.mkdir(exist_ok=True)  # else wandb writes elsewhere
        try:
            self._run = wandb.init(
                project=os.environ.get("WANDB_PROJECT", _PROJECT),
                id=run_id,
                name=directory.path.name,
                config=flatten(config),
                dir=directory.path.absolute(),
                resume="allow",
                settings=wandb.Settings(silent=True, console="off"),
            )
        except wandb.Error as error:
            raise ValueError(
                f"wandb=True: {error} (without an account or a network: WANDB_MODE=offline)"
            ) from error
        write_json(identity, run_id)
        # Not W&B's own steps: those only increase, and a resumed run may start before its last row.
        self._run.define_metric("*", step_metric="frames")

    @property
    def where(self) -> str:
        """The run's URL, or the directory that `wandb sync` uploads."""
        if not self._run.offline:
            return str(self._run.url)
        offline = self._directory / "wandb" / pathlib.Path(self._run.dir).parent.name
        return f"{offline} (upload it with `wandb sync`)"

    def update(self) -> None:
        """Sends the rows added since the last call."""
        for table, follower in self._followers.items():
            for row in follower.new_rows():
                scalars = self._stream.add(table, row)
                if scalars is not None:
                    self._run.log({"frames": scalars.frames, **scalars.values})

    def close(self) -> None:
        """Sends the remaining rows, after the program has ended."""
        self.update()

    def finish(self, exit_code: int, scores: Sequence[TaskScore] = ()) -> None:
        """Sends the result, and waits until all has arrived.

        Args:
          exit_code: exit code of the program.
          scores: scores of the final evaluation, for the run's summary.
        """
        for score in scores:
            self._run.summary[f"final/episodic_return/{score.task}"] = score.mean
        total = aggregate([score.human_normalised for score in scores])
        if total is not None:
            for name, percent in total._asdict().items():
                self._run.summary[f"final/human_normalised_percent/{name}"] = percent
        self._run.finish(exit_code=exit_code)
