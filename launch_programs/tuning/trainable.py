"""Adapts a population member to Ray Tune."""

import pathlib
from typing import Any

from ray import tune

from launch_programs.run.population import PopulationDirectory
from launch_programs.tuning.member import Member

# Result keys: what Ray Tune compares, and how it counts intervals.
SCORE = "score"
INTERVALS = "training_iteration"  # Ray Tune's own


class MemberTrainable(tune.Trainable):
    """A Ray Tune trial; each step is one interval of the member's training.

    Its configuration contains the values of the tuned settings, and "population", the directory.
    """

    def setup(self, config: dict[str, Any]) -> None:
        """Called by Ray Tune in the trial's process.

        Args:
          config: configuration of the trial.
        """
        directory = PopulationDirectory(config["population"])
        self._tuned = {name: float(v) for name, v in config.items() if name != "population"}
        self._member = Member(directory, member_number(self.trial_id))
        self._intervals = directory.read_config().intervals
        self._begun = False

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Called by Ray Tune to reuse another trial's process instead of starting a new one."""
        self.setup(new_config)
        return True

    def load_checkpoint(self, checkpoint_dir: Any) -> None:
        """Continues from a member's state, its own or another's.

        Args:
          checkpoint_dir: path of a directory that `save_checkpoint` has filled.
        """
        self._member.begin(pathlib.Path(checkpoint_dir), self._tuned)
        self._begun = True

    def step(self) -> dict[str, Any]:
        """Trains for one interval."""
        if not self._begun:
            self._member.begin(None, self._tuned)
        row = self._member.train()
        self._interval = row.interval
        return {**row.to_row(), "done": row.interval + 1 == self._intervals}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Saves the run's newest checkpoint, and continues from it."""
        state = pathlib.Path(checkpoint_dir)
        self._member.save(state, self._interval)
        self._member.begin(state, self._tuned)
        self._begun = True

    def cleanup(self) -> None:
        """Called by Ray Tune when the trial's process ends."""
        self._member.stop()


def member_number(trial_id: str) -> int:
    """The member that a Ray Tune trial trains; trials are numbered in the order drawn."""
    return int(trial_id.rpartition("_")[2])
