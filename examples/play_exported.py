"""Plays a policy file written by `launch_programs.export`, without any of the training code.

    python -m examples.play_exported [FILE] [EPISODES]

Without a file it plays atari3.policy.npz, which comes with the project: three Atari games.
"""

import pathlib
import sys

import numpy as np

from agents.popart_impala import load_policy
from environments import AtariOptions, make_environment, parse_level_name

default = pathlib.Path(__file__).with_name("atari3.policy.npz")
path = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else default
episodes = int(sys.argv[2]) if len(sys.argv) > 2 else 3

policy = load_policy(path)
print(f"{path.name}: trained on {policy.info.frames:,} frames of {', '.join(policy.tasks)}")

# The project's own tasks. For your own environment, call `policy` the same way.
tasks = parse_level_name(",".join(policy.tasks))
options = AtariOptions(**policy.info.environment)  # for Atari and Procgen; others ignore these

for index, task in enumerate(tasks):
    environment = make_environment(tasks, index, atari=options, seed=1)
    returns = []
    for _ in range(episodes):
        policy.reset()
        timestep = environment.reset()
        returns.append(0.0)
        while not timestep.last():
            action = policy(timestep.observation.features, task.name, timestep.reward)
            timestep = environment.step(action)
            returns[-1] += timestep.reward
    environment.close()
    print(f"{task.name}: mean return {np.mean(returns):,.1f} of {episodes} episodes", flush=True)
