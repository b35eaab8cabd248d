"""A task and its scores."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Task:
    """One task, with the scores, if known, that make returns comparable between tasks."""

    # snake_case for Atari and toy tasks; an Atari game has the name of its ROM file. FAMILY:REST
    # for all others.
    name: str
    domain: str  # its family's name, a key of `environments.families.FAMILIES`
    # A uniform random policy's mean episode return, exact for toy tasks; R_min for Procgen. None:
    # not known.
    random_score: float | None
    # A human's mean episode return, or what `reference` names. None: not known.
    human_score: float | None
    action_repeat: int  # frames per agent step
    reference: str = "human"  # what `human_score` is called; "optimum" for toy tasks, for example

    def human_normalised(self, score: float) -> float | None:
        """Returns a score in percent: 0 is the random policy's, 100 the human's.

        None if the task lacks one of the two.
        """
        if self.random_score is None or self.human_score is None:
            return None
        return 100.0 * (score - self.random_score) / (self.human_score - self.random_score)


def rest_of(task: Task) -> str:
    """The part of a task's name after its family's name."""
    return task.name.partition(":")[2]
