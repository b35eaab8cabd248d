"""The tasks, the suites, and the names by which users ask for them."""

import dataclasses
import difflib
import re
from collections.abc import Sequence

from environments import minatar_games
from environments.atari57 import ATARI57_SCORES
from environments.atari_others import OTHER_ATARI_GAMES
from environments.toy import GAMES


@dataclasses.dataclass(frozen=True)
class Task:
    """One task, with the scores, where there are any, that make returns of tasks comparable."""

    # snake_case; an Atari game's is that of its ROM file. Of a task made on demand DOMAIN:REST, and
    # so it is of MinAtar's.
    name: str
    domain: str  # "atari", "minatar", "toy", or one of `ON_DEMAND`
    # A uniform random policy's mean episode return; exact for toy tasks. None: not known.
    random_score: float | None
    # A human's mean episode return; for toy tasks the optimum. None: not known.
    human_score: float | None
    action_repeat: int  # frames per agent step

    @property
    def reference(self) -> str:
        """What `human_score` is called: "human", or "optimum" of toy tasks."""
        return "optimum" if self.domain == "toy" else "human"

    def human_normalised(self, score: float) -> float | None:
        """Returns a score in percent: 0 is the random policy's, 100 the human's.

        None if the task lacks one of the two.
        """
        if self.random_score is None or self.human_score is None:
            return None
        return 100.0 * (score - self.random_score) / (self.human_score - self.random_score)


TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        *(Task(name, "atari", random, human, 4) for name, random, human in ATARI57_SCORES),
        *(
            Task(name, "minatar", g.random_score, None, 1)
            for name, g in minatar_games.GAMES.items()
        ),
        *(Task(name, "atari", None, None, 4) for name in OTHER_ATARI_GAMES),
        *(Task(name, "toy", game.random_score, game.optimum, 1) for name, game in GAMES.items()),
    )
}

SUITES: dict[str, tuple[str, ...]] = {
    "atari3": ("pong", "riverraid", "seaquest"),
    "atari57": tuple(name for name, _, _ in ATARI57_SCORES),
    "minatar": minatar_games.SUITE,
    "minatar_scales": minatar_games.SCALES_SUITE,
    "toy": ("catch_x1", "catch_x100", "catch_x10000"),
    "toy_scales": ("choice_x1", "choice_x100", "choice_x10000"),
    "toy_density": ("follow_x1", "follow_x100", "streak_x1", "streak_x100"),
    "toy_conflict": tuple(f"catch_{order}" for order in ("lsr", "lrs", "slr", "srl", "rls", "rsl")),
}

# Domains of environments that others register or write: DOMAIN:REST names a task of them. What REST
# may be is for `environments.factory` to say.
ON_DEMAND = {
    "gym": "gym:ID",
    "bsuite": "bsuite:EXPERIMENT/NUMBER",
    "dm_env": "dm_env:MODULE:FACTORY",
}

# "ALE/Pong-v5", "PongNoFrameskip-v4", "PongDeterministic-v0" -> "Pong". Only the game is taken from
# such a name; how it is played is for AtariOptions to say.
_GYM_NAME = re.compile(
    r"(?P<prefix>ale/)?(?P<game>\w+?)(?P<suffix>(noframeskip|deterministic)?-v\d+|noframeskip)?",
    re.IGNORECASE,
)


_RAM_NAME = re.compile(r"(ale/)?\w+-ram(noframeskip|deterministic)?-v\d+", re.IGNORECASE)

# The versions whose emulators repeat the last action with a probability of 0.25.
_STICKY_NAME = re.compile(r"ale/\w+-v5|\w+-v0", re.IGNORECASE)

# Characters; a file name may have 255 bytes, and the time comes behind it.
_LONGEST_NAME = 100


def _key(name: str) -> str:
    return name.replace("_", "").lower()


_KNOWN = f"known suites: {', '.join(SUITES)}; other environments: {', '.join(ON_DEMAND.values())}"

_TASKS_BY_KEY = {_key(task.name): task for task in TASKS.values()}


def parse_level_name(text: str) -> tuple[Task, ...]:
    """Reads a list of tasks as a user writes it.

    Args:
      text: comma-separated names of tasks and suites, of one domain. A suite stands for its tasks.
        A game may be written as its ROM file ("ms_pacman") or as in Gym ("MsPacman",
        "MsPacmanNoFrameskip-v4", "ALE/MsPacman-v5"), in any case. MinAtar's games are
        "minatar:GAME", with rewards multiplied by 100 "minatar:GAME_x100". Other environments are
        "gym:ID", "bsuite:EXPERIMENT/NUMBER" and "dm_env:MODULE:FACTORY"; whether there is such an
        environment is not looked up here.

    Returns:
      The tasks, in the order given. A task's position is its index in the run.

    Raises:
      ValueError: in one line, if a name is unknown (with the nearest names) or empty, if a task
        comes twice, or if domains are mixed.
    """
    tasks: list[Task] = []
    for part in text.split(","):
        tasks.extend(_named(part.strip(), text))
    names = [task.name for task in tasks]
    again = [name for name in names if names.count(name) > 1]
    if again:
        raise ValueError(f"every task may come once, but {text!r} has {again[0]} more than once")
    examples = {task.domain: task.name for task in tasks}
    if len(examples) > 1:
        mixed = " and ".join(f"{name} ({domain})" for domain, name in examples.items())
        raise ValueError(f"the tasks of a run must be of one domain, but {text!r} mixes {mixed}")
    return tuple(tasks)


def sticky_names(text: str) -> list[str]:
    """The names in a list of tasks of which Gym's own environments have sticky actions.

    Only the game is taken from such a name, so whoever wants the actions has to be told.

    Args:
      text: as of `parse_level_name`.
    """
    return [name for name in map(str.strip, text.split(",")) if _STICKY_NAME.fullmatch(name)]


def suite_name(tasks: Sequence[Task]) -> str:
    """Returns a short name for a list of tasks, fit for a directory's name.

    That is the suite's name for exactly its tasks in its order, up to three tasks' names
    ("pong-seaquest") if they are not too long, with "_" for what file systems may not take
    ("gym_CartPole-v1"), or the domain and the number of tasks ("atari5tasks").

    Raises:
      ValueError: if there is no task.
    """
    if not tasks:
        raise ValueError("no task to name")
    names = tuple(task.name for task in tasks)
    for suite, members in SUITES.items():
        if names == members:
            return suite
    joined = re.sub(r"[^\w.-]", "_", "-".join(names), flags=re.ASCII)
    if len(names) <= 3 and len(joined) <= _LONGEST_NAME:
        return joined
    return f"{tasks[0].domain}{len(names)}tasks"


def _named(name: str, text: str) -> list[Task]:
    """Returns the tasks that one name, of a task or a suite, stands for."""
    if not name:
        raise ValueError(f"a name is missing in {text!r}; {_KNOWN}")
    domain, colon, rest = name.partition(":")
    if colon and domain.lower() in ON_DEMAND:
        domain = domain.lower()
        if not rest:
            raise ValueError(f"task {name!r}: must be {ON_DEMAND[domain]}")
        return [Task(f"{domain}:{rest}", domain, None, None, 1)]
    if name.lower() in SUITES:
        return [TASKS[member] for member in SUITES[name.lower()]]
    match = _GYM_NAME.fullmatch(name)
    game = match["game"] if match else name
    task = _TASKS_BY_KEY.get(_key(game))
    if match and (match["prefix"] or match["suffix"]) and task and task.domain != "atari":
        task = None
    if task is None and _RAM_NAME.fullmatch(name):
        raise ValueError(
            f"unknown task {name!r}: games are learned from their pictures, not from the RAM; give "
            "the game's name without -ram"
        )
    if task is None:
        # Compared without underscores, so that "MsPackman" and "ms_packman" are equally near.
        known = {**{_key(known): known for known in TASKS}, **{suite: suite for suite in SUITES}}
        near = [known[key] for key in difflib.get_close_matches(_key(game), known)]
        hint = f"did you mean {' or '.join(near)}? " if near else ""
        raise ValueError(f"unknown task {name!r}: {hint}{_KNOWN}")
    return [task]
