"""Warns when many of the learner's updates are skipped."""

from launch_programs.run.metrics import Row

# Share of the updates since the last row. An occasional bad batch is tolerated; this is more.
_SHARE = 0.01


class SkippedUpdates:
    """Checks the rows of learner.csv one by one.

    Attributes:
      steps: learner steps at the last row, or where the learner begins.
    """

    def __init__(self) -> None:
        self.steps = 0
        self._skipped = 0

    def warning(self, row: Row) -> str | None:
        """A warning if over 1 % of the updates since the last row were skipped, else None."""
        steps, skipped = int(row["learner_steps"]), int(row["skipped_updates"])
        made, lost = steps - self.steps, skipped - self._skipped
        self.steps, self._skipped = steps, skipped
        if lost <= _SHARE * made:
            return None
        return (
            f"{lost} of the last {made} updates were skipped, at least in part, since the loss, "
            "the gradient or PopArt's statistics were not finite: nothing is learned from those "
            "minibatches"
        )
