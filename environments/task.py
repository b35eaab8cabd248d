"""What a task is."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Task:
    """One task, with the scores, where there are any, that make returns of tasks comparable."""

    # snake_case; an Atari game's is that of its ROM file. Of a task made on demand FAMILY:REST, and
    # so it is of MinAtar's.
    name: str
    domain: str  # its family's name, a key of `environments.families.FAMILIES`
    # A uniform random policy's mean episode return; exact for toy tasks. None: not known.
    random_score: float | None
    # A human's mean episode return; for toy tasks the optimum. None: not known.
    human_score: float | None
    action_repeat: int  # frames per agent step
    reference: str = "human"  # what `human_score` is called: of toy tasks "optimum", for example

    def human_normalised(self, score: float) -> float | None:
        """Returns a score in percent: 0 is the random policy's, 100 the human's.

        None if the task lacks one of the two.
        """
        if self.random_score is None or self.human_score is None:
            return None
        return 100.0 * (score - self.random_score) / (self.human_score - self.random_score)


def rest_of(task: Task) -> str:
    """What stands behind the family's name in a task's."""
    return task.name.partition(":")[2]
