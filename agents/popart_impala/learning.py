"""Batch -> update -> state; what is saved and restored."""

import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import acme
import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import reverb
from acme.utils import counting, loggers

from agents.popart_impala import losses, popart
from agents.popart_impala.config import Config
from agents.popart_impala.frame_stacks import rebuild_stacks
from agents.popart_impala.networks import VALUE_HEAD, Networks
from agents.popart_impala.types import Params, PolicyVariables, Unroll
from agents.popart_impala.variables import POLICY


class TrainingState(NamedTuple):
    """Everything that an update changes; what a checkpoint holds.

    The two counts are Python integers: frames of many games pass the range of int32.
    """

    params: Params
    opt_state: optax.OptState
    popart: popart.PopArtState
    steps: int  # updates made
    frames: int  # environment frames consumed: agent steps x action repeat


def make_optimiser(config: Config) -> optax.GradientTransformation:
    """Global-norm clipping and RMSProp; the learning rate is applied by the update."""
    return optax.chain(
        optax.clip_by_global_norm(config.gradient_clipping),
        # The mean square starts at 1 as in the TensorFlow RMSProp of the papers' programs.
        optax.scale_by_rms(
            decay=config.rmsprop_decay, eps=config.rmsprop_epsilon, initial_scale=1.0
        ),
    )


def learning_rate(config: Config, frames: int) -> float:
    """Falls linearly from `config.learning_rate` to 0 at `config.total_environment_frames`."""
    return config.learning_rate * max(0.0, 1.0 - frames / config.total_environment_frames)


def time_major(unrolls: Unroll, stacked: bool) -> Unroll:
    """A batch from the queue [B, T, ...] as the loss wants it [T, B, ...].

    Args:
      unrolls: [B, ...] arrays.
      stacked: features were sent as single frames and become stacks [T+1, B, S, ...] again.

    Returns:
      Time-major unrolls; `inputs.task` is repeated to [T+1, B]; `initial_state` and `params_step`
      stay [B, ...].
    """
    inputs = unrolls.inputs
    features = inputs.features
    if stacked:
        features = jax.vmap(rebuild_stacks)(features, inputs.first)
    task = jnp.broadcast_to(inputs.task[:, None], inputs.first.shape)
    sequences = unrolls._replace(
        inputs=inputs._replace(features=features, task=task), initial_state=(), params_step=()
    )
    sequences = jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1), sequences)
    return sequences._replace(initial_state=unrolls.initial_state, params_step=unrolls.params_step)


def make_update(networks: Networks, config: Config, stacked: bool) -> Any:
    """The update as one compiled function.

    Args:
      networks: the network.
      config: the agent's settings.
      stacked: whether unrolls hold single frames of stacks.

    Returns:
      (params, opt_state, popart_state, unrolls [B, ...], learning_rate) ->
      (params, opt_state, popart_state, metrics).
    """
    optimiser = make_optimiser(config)

    def loss_fn(
        params: Params, popart_state: popart.PopArtState, batch: Unroll
    ) -> tuple[jax.Array, Any]:
        output = networks.unroll(params, batch.inputs, batch.initial_state)
        return losses.popart_vtrace_loss(
            losses.LossInput(
                logits=output.logits,
                normalised_values=output.normalised_values,
                behaviour_logits=batch.behaviour_logits,
                action=batch.action,
                reward=batch.reward,
                discount=batch.discount,
                first=batch.inputs.first,
                task=batch.inputs.task[0],
            ),
            popart_state,
            config,
        )

    def update(
        params: Params,
        opt_state: optax.OptState,
        popart_state: popart.PopArtState,
        unrolls: Unroll,
        rate: jax.Array,
    ) -> tuple[Params, optax.OptState, popart.PopArtState, dict[str, jax.Array]]:
        batch = time_major(unrolls, stacked)
        gradients, (new_popart_state, metrics) = jax.grad(loss_fn, has_aux=True)(
            params, popart_state, batch
        )
        # PopArt: the value head's outputs are preserved, and the step is taken from there.
        old = popart.scale_of(popart_state, config.popart_scale_min, config.popart_scale_max)
        new = popart.scale_of(new_popart_state, config.popart_scale_min, config.popart_scale_max)
        head = popart.preserve_outputs(popart.Head(**params[VALUE_HEAD]), old, new)
        head_gradient = popart.preserved_head_gradient(
            popart.Head(**gradients[VALUE_HEAD]), old, new
        )
        params = {**params, VALUE_HEAD: head._asdict()}
        gradients = {**gradients, VALUE_HEAD: head_gradient._asdict()}

        updates, opt_state = optimiser.update(gradients, opt_state, params)
        params = jax.tree.map(lambda p, u: p - rate * u, params, updates)
        metrics["gradient_norm"] = optax.global_norm(gradients)
        return params, opt_state, new_popart_state, metrics

    # The parameters are not donated: actors may be reading them.
    return jax.jit(update, donate_argnums=(1, 2))


class PopArtIMPALALearner(acme.Learner):
    """Acme's learner: one `step` is one update on one batch from the queue.

    A batch is split over the local devices. The compiled update sees the whole of it, so gradients
    and PopArt statistics are those of one device with the whole batch.
    """

    def __init__(
        self,
        networks: Networks,
        config: Config,
        dataset: Iterator[reverb.ReplaySample],
        random_key: chex.PRNGKey,
        *,
        stacked: bool,
        counter: counting.Counter | None = None,
        logger: loggers.Logger | None = None,
        log_interval: float = 10.0,
    ):
        """Initialises parameters, optimiser and statistics.

        Args:
          networks: the network.
          config: the agent's settings.
          dataset: batches; `sample.data` is an `Unroll` of [B, ...] arrays.
          random_key: for the initial parameters.
          stacked: whether the unrolls hold single frames of stacks.
          counter: gets `steps` and `frames`.
          logger: gets a row of metrics at most every `log_interval` seconds.
          log_interval: seconds.

        Raises:
          ValueError: the batch cannot be split evenly over the local devices.
        """
        devices = jax.local_devices()
        if config.batch_size % len(devices):
            raise ValueError(
                f"batch_size={config.batch_size}: must be a multiple of the {len(devices)} local "
                "devices"
            )
        mesh = jax.sharding.Mesh(np.asarray(devices), ("batch",))
        self._batch_sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("batch"))
        self._replicated = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
        self._config = config
        self._dataset = dataset
        self._counter = counter
        self._logger = logger
        self._log_interval = log_interval
        self._update = make_update(networks, config, stacked)
        self._state: TrainingState
        self._log_time: float  # when and at which frames the last row of metrics was written
        self._log_frames: int
        params = networks.init(random_key)
        self.restore(
            TrainingState(
                params=params,
                opt_state=make_optimiser(config).init(params),
                popart=popart.initial_state(networks.num_tasks),
                steps=0,
                frames=0,
            )
        )

    @property
    def frames(self) -> int:
        """Environment frames consumed so far, earlier runs of a resumed training included."""
        return self._state.frames

    def step(self) -> None:
        """Takes one batch and makes one update.

        Raises:
          StopIteration: the dataset has ended.
        """
        unrolls: Unroll = next(self._dataset).data
        # JAX only queues an update. One may run while the next batch is fetched; more would be
        # batches that wait here, unseen by the queue's bound on the policy lag.
        jax.block_until_ready(self._state.popart)
        state = self._state
        rate = learning_rate(self._config, state.frames)
        params, opt_state, popart_state, metrics = self._update(
            state.params,
            state.opt_state,
            state.popart,
            jax.device_put(unrolls, self._batch_sharding),
            np.float32(rate),
        )
        frames = self._config.frames_per_update
        self._state = TrainingState(
            params, opt_state, popart_state, state.steps + 1, state.frames + frames
        )
        if self._counter is not None:
            self._counter.increment(steps=1, frames=frames)
        if self._logger is not None and time.monotonic() >= self._log_time + self._log_interval:
            lag = state.steps - np.asarray(unrolls.params_step)
            self._log(self._logger, metrics, lag, rate)

    def _log(
        self, logger: loggers.Logger, metrics: dict[str, jax.Array], lag: np.ndarray, rate: float
    ) -> None:
        values = jax.device_get(metrics)  # waits for the update
        now = time.monotonic()
        state = self._state
        logger.write(
            {
                "learner_steps": state.steps,
                "frames": state.frames,
                "frames_per_second": (state.frames - self._log_frames) / (now - self._log_time),
                "learning_rate": rate,
                "policy_lag_mean": float(lag.mean()),  # learner steps, at an unroll's first action
                "policy_lag_max": int(lag.max()),
                **values,
            }
        )
        self._log_time, self._log_frames = now, state.frames

    def get_variables(self, names: list[str]) -> list[PolicyVariables]:
        """The parameters as NumPy arrays, with the learner step that made them.

        Args:
          names: each must be `variables.POLICY`.

        Raises:
          ValueError: another name.
        """
        for name in names:
            if name != POLICY:
                raise ValueError(f"unknown variables {name!r}: the learner publishes {POLICY!r}")
        state = self._state  # one reference: the learner's thread may set another meanwhile
        variables = PolicyVariables(state.steps, jax.device_get(state.params))
        return [variables for _ in names]

    def save(self) -> TrainingState:
        """The state as NumPy arrays."""
        state = self._state
        params, opt_state, popart_state = jax.device_get(
            (state.params, state.opt_state, state.popart)
        )
        return TrainingState(params, opt_state, popart_state, state.steps, state.frames)

    def restore(self, state: TrainingState) -> None:
        """Continues from a state that `save` returned."""
        params, opt_state, popart_state = jax.device_put(
            (state.params, state.opt_state, state.popart), self._replicated
        )
        self._state = TrainingState(
            params, opt_state, popart_state, int(state.steps), int(state.frames)
        )
        self._log_time = time.monotonic()
        self._log_frames = self._state.frames
