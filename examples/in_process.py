"""Trains in one process with the core alone: JAX and the environments, wherever these run.

    python -m examples.in_process [LEVEL_NAME] [UPDATES]

Without arguments it trains on the three games of the toy suite, whose rewards are 1, 100 and
10,000, for half a minute. `gym:CartPole-v1` and Atari's games are other level names.
"""

import collections
import sys

import jax
import numpy as np

from agents.popart_impala import Config, InProcessAgent
from agents.popart_impala.networks import default_network
from environments import (
    AtariOptions,
    features_spec,
    make_batched_environment,
    parse_level_name,
)


def train(level_name: str, config: Config, updates: int) -> dict[str, float]:
    """Trains; returns each task's mean return over its last 100 episodes.

    Args:
      level_name: comma-separated tasks or suites.
      config: the agent's settings; a batch has one unroll per environment.
      updates: how many batches to learn from.
    """
    tasks = parse_level_name(level_name)
    task_indices = [i % len(tasks) for i in range(config.batch_size)]
    environment = make_batched_environment(
        tasks, task_indices, atari=AtariOptions(life_loss=True), seed=0
    )
    agent = InProcessAgent(config, environment, jax.random.PRNGKey(0))
    returns = [collections.deque[float](maxlen=100) for _ in tasks]
    means: dict[str, float] = {}
    for update in range(1, updates + 1):
        for episode in agent.step():
            returns[episode.task].append(episode.episode_return)
        if update % 100 == 0 or update == updates:
            means = {t.name: float(np.mean(r)) for t, r in zip(tasks, returns, strict=True) if r}
            text = "  ".join(f"{name} {mean:,.1f}" for name, mean in means.items())
            print(f"{agent.learner.frames:,} frames  {text}", flush=True)
    environment.close()
    return means


if __name__ == "__main__":
    level_name = sys.argv[1] if len(sys.argv) > 1 else "toy"
    updates = int(sys.argv[2]) if len(sys.argv) > 2 else 600
    features = features_spec(parse_level_name(level_name))
    train(level_name, Config(network=default_network(features)), updates)
