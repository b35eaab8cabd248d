"""ViZDoom's scenarios and their observations, importable without the library.

ViZDoom (Kempka et al. 2016, arXiv 1605.02097) is Doom's engine, seen in first person.
"""

import dataclasses

import numpy as np
from dm_env import specs

# Every scenario's observation: red, green and blue, rows, columns. The engine draws 120 x 160, its
# smallest size, with health and ammunition as numbers; each pixel here is the mean of 2 x 2.
FEATURES = specs.BoundedArray((3, 60, 80), np.uint8, 0, 255, "screen")

# Engine tics, 35 a second, for which an action is repeated.
FRAME_SKIP = 4

# All buttons of the eight scenarios. An action presses one or none; a button that a scenario lacks
# does nothing there.
BUTTONS = (
    *("MOVE_LEFT", "MOVE_RIGHT", "ATTACK", "MOVE_FORWARD", "MOVE_BACKWARD"),
    *("TURN_LEFT", "TURN_RIGHT"),
)
ACTION_NAMES = ("noop", *(button.lower() for button in BUTTONS))


@dataclasses.dataclass(frozen=True)
class Scenario:
    """One scenario, as the library configures it."""

    config: str  # the library's file, without .cfg
    random_score: float  # a uniform random policy's mean episode return
    # The return at which OpenAI Gym called it solved: `reward_threshold` of
    # https://github.com/ppaquette/gym-doom, ppaquette_gym_doom/__init__.py. It is not a limit: the
    # monster in `basic` is worth 101, and Gym's scenarios differ in difficulty from the library's.
    goal: float


SCENARIOS: dict[str, Scenario] = {
    "basic": Scenario("basic", -195.8, 10.0),
    "deadly_corridor": Scenario("deadly_corridor", -88.24, 1_000.0),
    "defend_center": Scenario("defend_the_center", -0.166, 10.0),
    "defend_line": Scenario("defend_the_line", 7.338, 15.0),
    "health_gathering": Scenario("health_gathering", 354.7, 1_000.0),
    "my_way_home": Scenario("my_way_home", -0.099, 0.5),
    "predict_position": Scenario("predict_position", -0.002, 0.5),
    "take_cover": Scenario("take_cover", 235.4, 750.0),
}

SUITE = tuple(f"doom:{name}" for name in SCENARIOS)
