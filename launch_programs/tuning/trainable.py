"""A member of a population as Ray Tune knows it."""

import pathlib
from typing import Any

from ray import tune

from launch_programs.run.population import PopulationDirectory
from launch_programs.tuning.member import Member

# What Ray Tune is to compare, and by what it counts intervals.
SCORE = "score"
INTERVALS = "training_iteration"  # its own


class MemberTrainable(tune.Trainable):
    """A trial of Ray Tune; a step of it is an interval of the member's training.

    Its configuration has the values of the tuned settings, and "population", the directory.
    """

    def setup(self, config: dict[str, Any]) -> None:
        """Called by Ray Tune in the process of the trial.

        Args:
          config: of the trial.
        """
        directory = PopulationDirectory(config["population"])
        self._tuned = {name: float(v) for name, v in config.items() if name != "population"}
        self._member = Member(directory, member_number(self.trial_id))
        self._intervals = directory.read_config().intervals
        self._begun = False

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Called by Ray Tune in the process of another trial, which it saves starting again."""
        self.setup(new_config)
        return True

    def load_checkpoint(self, checkpoint_dir: Any) -> None:
        """Continues from a member's state: its own or another's.

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
    """The member that a trial of Ray Tune is: trials are numbered in the order of their draws."""
    return int(trial_id.rpartition("_")[2])
