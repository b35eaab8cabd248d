"""Measures each stage of a step alone: emulation, inference, queue, learner step, publication.

Each function measures one stage with the parts and shapes of a run. Anything beyond JAX, Haiku, the
mathematics packages and the run's environments is imported inside functions, so that `learner` runs
without it.
"""

import functools
import itertools
import json
import sys
import threading
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from agents.popart_impala import popart
from agents.popart_impala.networks import Networks, make_networks
from agents.popart_impala.training_state import make_optimiser
from agents.popart_impala.types import AgentInput
from agents.popart_impala.unrolls import Signature, unroll_signature
from agents.popart_impala.update import make_update
from benchmarks.measuring import Measurement, repeat
from environments import StackedFrames, make_environment
from launch_programs.run.run_config import RunConfig
from launch_programs.run.run_directory import RunDirectory

# Batches that the learner's stage cycles through: too many to stay in the processor's cache.
_BATCHES = 4


def bytes_per_step(config: RunConfig) -> float:
    """Bytes that go through the queue per agent step."""
    arrays = jax.tree.leaves(run_signature(config))
    return sum(spec.dtype.itemsize * np.prod(spec.shape) for spec in arrays) / (
        config.agent.unroll_length
    )


class _Shapes(NamedTuple):
    """The run's features, networks and unrolls."""

    features: Any  # spec of the features
    networks: Networks
    signature: Signature


@functools.lru_cache(maxsize=1)
def _shapes(config: RunConfig) -> _Shapes:
    environment = make_environment(config.task_list(), 0, atari=config.atari, seed=config.seed)
    features = environment.observation_spec().features
    num_actions = environment.action_spec().num_values
    environment.close()
    networks = make_networks(
        config.agent,
        features_spec=features,
        num_actions=num_actions,
        num_tasks=len(config.tasks),
    )
    signature = unroll_signature(
        features, num_actions, config.agent.unroll_length, networks.initial_state(1)
    )
    return _Shapes(features, networks, signature)


def run_signature(config: RunConfig) -> Signature:
    """The signature of the run's unrolls."""
    return _shapes(config).signature


def _random(rng: np.random.Generator, shape: tuple[int, ...], dtype: Any, below: int) -> np.ndarray:
    """Numbers like an observation's; int32 ones are in [0, `below`)."""
    if dtype == np.uint8:
        return rng.integers(0, 256, shape, np.uint8)
    if dtype == np.bool_:
        return rng.random(shape) < 0.01
    if dtype == np.int32:
        return rng.integers(0, below, shape, np.int32)
    return rng.standard_normal(shape).astype(np.float32)


def random_unrolls(config: RunConfig, n: int, seed: int) -> Any:
    """N unrolls with the shapes of real ones and similar numbers."""
    rng = np.random.default_rng(seed)
    shapes = _shapes(config)

    def array(spec: Any) -> np.ndarray:
        below = len(config.tasks) if "task" in spec.name else shapes.networks.num_actions
        return _random(rng, (n, *spec.shape), spec.dtype, below)

    unrolls = jax.tree.map(array, shapes.signature)
    return unrolls._replace(discount=np.ones_like(unrolls.discount))


def emulation(config: RunConfig, seconds: float) -> Measurement:
    """One actor's environments under random actions."""
    from environments import make_batched_environment

    environment = make_batched_environment(
        config.task_list(),
        config.task_indices(0),
        atari=config.atari,
        seed=config.seed,
        num_threads=config.cores_per_actor,
    )
    environment.reset()
    rng = np.random.default_rng(config.seed)
    n = environment.num_environments
    num_actions = environment.action_spec().num_values
    measurement = repeat(lambda: environment.step(rng.integers(0, num_actions, n)), n, seconds)
    environment.close()
    return measurement


def inference(config: RunConfig, seconds: float) -> Measurement:
    """One actor's forward passes, including the transfer of their outputs."""
    from agents.popart_impala.acting import make_policy

    shapes = _shapes(config)
    networks = shapes.networks
    policy = make_policy(networks)
    params = jax.device_get(networks.init(jax.random.PRNGKey(0)))
    n = config.environments_per_actor
    rng = np.random.default_rng(0)
    inputs = [
        AgentInput(
            features=_random(rng, (n, *shapes.features.shape), shapes.features.dtype, 2),
            task=np.array(config.task_indices(0), np.int32),
            previous_action=rng.integers(0, networks.num_actions, n, np.int32),
            previous_reward=rng.standard_normal(n).astype(np.float32),
            first=rng.random(n) < 0.01,
        )
        for _ in range(8)
    ]
    source = itertools.cycle(inputs)
    state, key = networks.initial_state(n), jax.random.PRNGKey(1)

    def step() -> None:
        nonlocal state, key
        output = policy(params, key, next(source), state)
        state, key = output.state, output.key
        np.asarray(output.action), np.asarray(output.logits)

    return repeat(step, n, seconds)


def insert_sample_batch(config: RunConfig, seconds: float) -> Measurement:
    """Writes unrolls to a Reverb server and reads them back in batches, all in this process."""
    import reverb

    from agents.popart_impala import reverb_queue

    signature = run_signature(config)
    agent = config.agent
    server = reverb.Server([reverb_queue.make_table(signature, agent.queue_capacity)])
    client = reverb.Client(f"localhost:{server.port}")
    stop = threading.Event()
    writer = reverb_queue.QueueWriter(client, signature, stop.is_set)
    unrolls = random_unrolls(config, config.environments_per_actor, seed=0)

    def write() -> None:
        while not stop.is_set():
            writer.write(unrolls)

    thread = threading.Thread(target=write)
    thread.start()
    batches = reverb_queue.make_batches(client, signature, agent.batch_size)
    steps = agent.batch_size * agent.unroll_length
    try:
        return repeat(lambda: next(batches), steps, seconds)
    finally:
        stop.set()
        thread.join()
        server.stop()


def learner(config: RunConfig, seconds: float) -> Measurement:
    """All of the learner's passes over batches from host memory."""
    shapes = _shapes(config)
    networks, agent = shapes.networks, config.agent
    step = make_update(networks, agent, stacked=isinstance(shapes.features, StackedFrames))
    params = networks.init(jax.random.PRNGKey(0))
    state = (params, make_optimiser(agent).init(params), popart.initial_state(len(config.tasks)))
    parts = np.split(np.arange(agent.batch_size), agent.num_minibatches(1))
    batches = itertools.cycle(
        [  # made now, not while the clock runs
            random_unrolls(config, agent.batch_size, seed) for seed in range(_BATCHES)
        ]
    )

    def run() -> None:
        nonlocal state
        waiting, batch = state, next(batches)
        for _ in range(agent.passes):
            for rows in parts:
                part = batch if len(parts) == 1 else jax.tree.map(lambda x, r=rows: x[r], batch)
                *state, _ = step(*state, jax.device_put(part), np.float32(1e-4))
        jax.block_until_ready(waiting[0])  # one batch's steps run while the next is prepared

    return repeat(run, agent.batch_size * agent.unroll_length, seconds)


def publication(config: RunConfig, seconds: float) -> Measurement:
    """Sends parameters from a Courier server to one actor, once per unroll."""
    import courier

    from agents.popart_impala.types import PolicyVariables
    from agents.popart_impala.variables import VariableClient

    params = _shapes(config).networks.init(jax.random.PRNGKey(0))
    version = itertools.count()
    server = courier.Server("learner")
    server.Bind(
        "get_variables",
        lambda names: [PolicyVariables(next(version), jax.device_get(params)) for _ in names],
    )
    server.Start()
    client = VariableClient(courier.Client(f"localhost:{server.port}", call_timeout=60))
    steps = config.environments_per_actor * config.agent.unroll_length
    try:
        return repeat(lambda: client.update(wait=True), steps, seconds)
    finally:
        server.Stop()


class Stage(NamedTuple):
    """A stage, and the group of nodes whose processes run it."""

    measure: Callable[[RunConfig, float], Measurement]
    node: str


# In the order in which data passes through them.
STAGES = {
    "emulation": Stage(emulation, "actor"),
    "inference": Stage(inference, "actor"),
    "queue": Stage(insert_sample_batch, "learner"),
    "learner": Stage(learner, "learner"),
    "publication": Stage(publication, "learner"),
}


def main(arguments: list[str]) -> None:
    """Measures one stage for a run directory's configuration; prints JSON."""
    directory, stage, seconds = arguments
    config = RunDirectory(directory).read_config()
    print(json.dumps(STAGES[stage].measure(config, float(seconds))._asdict()))


if __name__ == "__main__":
    main(sys.argv[1:])
