"""The groups of nodes in a program, in starting order.

Imports nothing else from the program: processes read this before they load libraries.
"""

import dataclasses
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from launch_programs.run.run_config import RunConfig


@dataclasses.dataclass(frozen=True)
class Group:
    """Nodes with the same role."""

    name: str
    listens: bool = False  # has an address that others must know
    replaceable: bool = False  # holds nothing that others need, so may be restarted alone
    learns: bool = False  # may use accelerators, and has large arrays
    cpus: float = 1  # default request of each node to a Ray host


GROUPS = {
    group.name: group
    for group in (
        Group("coordinator", listens=True, cpus=0),
        Group("learner", listens=True, learns=True),
        Group("queue", listens=True),
        Group("actor", replaceable=True),
        Group("evaluator", replaceable=True),
    )
}

# Groups whose nodes have addresses in a cluster file.
LISTENING = tuple(group.name for group in GROUPS.values() if group.listens)


def num_nodes(config: "RunConfig") -> dict[str, int]:
    """Number of nodes in each group of a run's program."""
    return {
        "coordinator": 1,
        "learner": 1,
        "queue": config.num_queues,
        "actor": config.num_actors,
        "evaluator": int(config.evaluation_interval > 0),
    }
