"""The tasks, the suites, and the names by which users ask for them."""

import difflib
import re
from collections.abc import Sequence

from environments.families import FAMILIES, OnDemandFamily
from environments.task import Task

TASKS: dict[str, Task] = {task.name: task for family in FAMILIES.values() for task in family.tasks}

SUITES: dict[str, tuple[str, ...]] = {
    name: tasks for family in FAMILIES.values() for name, tasks in family.suites.items()
}

# By family, how to write the tasks of environments that others register or write. The family
# decides what may stand for the words in capitals.
SPELLINGS = {
    name: family.spelling for name, family in FAMILIES.items() if isinstance(family, OnDemandFamily)
}

# "ALE/Pong-v5", "PongNoFrameskip-v4", "PongDeterministic-v0" -> "Pong". Only the game is taken from
# such a name; AtariOptions say how it is played.
_GYM_NAME = re.compile(
    r"(?P<prefix>ale/)?(?P<game>\w+?)(?P<suffix>(noframeskip|deterministic)?-v\d+|noframeskip)?",
    re.IGNORECASE,
)


_RAM_NAME = re.compile(r"(ale/)?\w+-ram(noframeskip|deterministic)?-v\d+", re.IGNORECASE)

# The versions whose emulators repeat the last action with a probability of 0.25.
_STICKY_NAME = re.compile(r"ale/\w+-v5|\w+-v0", re.IGNORECASE)

# Characters; a file name may have 255 bytes, and the time is appended to this one.
_LONGEST_NAME = 100


def _key(name: str) -> str:
    return name.replace("_", "").lower()


_KNOWN = f"known suites: {', '.join(SUITES)}; other environments: {', '.join(SPELLINGS.values())}"

_TASKS_BY_KEY = {_key(task.name): task for task in TASKS.values()}


def parse_level_name(text: str) -> tuple[Task, ...]:
    """Parses a list of tasks as a user writes it.

    Args:
      text: comma-separated names of tasks and suites, of one domain. A suite stands for its tasks.
        A game may be written as its ROM file ("ms_pacman") or as in Gym ("MsPacman",
        "MsPacmanNoFrameskip-v4", "ALE/MsPacman-v5"), in any case. MinAtar's games are
        "minatar:GAME", or "minatar:GAME_x100" with rewards multiplied by 100; others are
        "procgen:GAME" and "doom:SCENARIO". Environments made on demand are "gym:ID",
        "bsuite:EXPERIMENT/NUMBER" and "dm_env:MODULE:FACTORY"; whether they exist is not checked.

    Returns:
      The tasks, in the order given. A task's position is its index in the run.

    Raises:
      ValueError: in one line, if a name is unknown (with the nearest names) or empty, if a task
        appears twice, or if domains are mixed.
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
    """The names in a list of tasks whose Gym environments have sticky actions.

    Only the game is taken from such a name, so users who expect sticky actions have to be told.

    Args:
      text: as for `parse_level_name`.
    """
    return [name for name in map(str.strip, text.split(",")) if _STICKY_NAME.fullmatch(name)]


def suite_name(tasks: Sequence[Task]) -> str:
    """Returns a short name for a list of tasks, usable as a directory name.

    That is a suite's name for exactly its tasks in its order; else the names of up to three tasks
    ("pong-seaquest") if they are not too long, with "_" for characters that file systems may reject
    ("gym_CartPole-v1"); else the domain and the number of tasks ("atari5tasks").

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
    if colon and domain.lower() in SPELLINGS:
        domain = domain.lower()
        if not rest:
            raise ValueError(f"task {name!r}: must be {SPELLINGS[domain]}")
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
