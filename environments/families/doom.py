"""ViZDoom's eight standard scenarios."""

import dm_env
from dm_env import specs

from environments.doom_scenarios import FEATURES, FRAME_SKIP, SCENARIOS, SUITE
from environments.families.family import DmFamily
from environments.task import Task


class Doom(DmFamily):
    """doom:SCENARIO."""

    name = "doom"
    tasks = tuple(
        Task(f"doom:{name}", "doom", scenario.random_score, scenario.goal, FRAME_SKIP, "goal")
        for name, scenario in SCENARIOS.items()
    )
    suites = {"doom8": SUITE}

    def features_spec(self, task: Task) -> specs.Array:
        """A colour screen, whatever the scenario; no engine is started for it."""
        del task
        return FEATURES

    def make_alone(self, task: Task, seed: int) -> dm_env.Environment:
        """Starts an engine."""
        from environments.doom import DoomEnvironment

        return DoomEnvironment(task, seed)
