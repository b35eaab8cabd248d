"""PopArt-IMPALA on a dm_env environment of your own, in one process.

    python -m examples.single_process [UPDATES]

The main thread acts and another one learns; the queue between them keeps the two in step. With the
default number of updates, the mean return comes close to 1, the best in Catch, in half a minute.
"""

import sys
import threading

import acme
import dm_env
import jax
import numpy as np
import reverb
from acme.utils import loggers

from agents.popart_impala import Config, PopArtIMPALABuilder
from environments import Catch, WithTask


def train(environment: dm_env.Environment, config: Config, updates: int) -> list[float]:
    """Trains on an environment whose observations name their task; returns every episode's return.

    Args:
      environment: as `environments.WithTask` makes it from any other.
      config: the agent's settings.
      updates: how many updates the learner makes.
    """
    environment_spec = acme.make_environment_spec(environment)
    stop = threading.Event()  # ends anything that waits for the queue
    builder = PopArtIMPALABuilder(config, environment_spec, should_stop=stop.is_set)

    # The queue of unrolls, the learner behind it, the actor in front of it.
    server = reverb.Server(builder.make_replay_tables(environment_spec))
    client = reverb.Client(f"localhost:{server.port}")
    dataset = builder.make_dataset_iterator(client)
    learner = builder.make_learner(jax.random.PRNGKey(0), builder.networks, dataset)
    adder = builder.make_adder(client)
    actor = builder.make_actor(jax.random.PRNGKey(1), builder.make_policy(), adder, learner)
    loop = acme.EnvironmentLoop(environment, actor, logger=loggers.NoOpLogger())

    def learn() -> None:
        try:
            learner.run(num_steps=updates)
        finally:  # also after an error: without a learner, the actor would wait forever
            stop.set()

    threading.Thread(target=learn, daemon=True).start()
    returns: list[float] = []
    while not stop.is_set():
        returns.append(loop.run_episode()["episode_return"])
        if stop.is_set() or len(returns) % 500 == 0:
            print(
                f"{len(returns)} episodes, mean return {np.mean(returns[-500:]):+.2f}", flush=True
            )
    server.stop()
    return returns


if __name__ == "__main__":
    # Replace Catch with your environment: actions are discrete, an observation is one array. With
    # several tasks, each environment gets its task's index; here there is one task.
    train(
        WithTask(Catch(seed=0), task=0, num_tasks=1),
        # A perceptron, since observations are not image stacks; updates on 8 unrolls of 9 steps.
        Config(network="mlp", unroll_length=9, batch_size=8, learning_rate=5e-3, action_repeat=1),
        updates=int(sys.argv[1]) if len(sys.argv) > 1 else 600,
    )
