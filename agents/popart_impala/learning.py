"""Batch -> updates: the learner's state, and how it is published, saved and restored."""

from collections.abc import Iterator
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np

from agents.popart_impala import popart
from agents.popart_impala.config import Config
from agents.popart_impala.networks import Networks
from agents.popart_impala.training_state import TrainingState, learning_rate, make_optimiser
from agents.popart_impala.types import PolicyVariables, Unroll
from agents.popart_impala.update import make_update
from agents.popart_impala.variables import POLICY

# Skipped updates in a row after which learning stops. One bad batch passes, and the queue and the
# batches in flight hold a few; after ten there is no reason to expect the next to be better.
MAX_SKIPPED_IN_A_ROW = 10


class NonFiniteUpdates(Exception):
    """Many updates in a row were not finite and were skipped, each of them at least in part.

    Skipped gradient steps leave the learner's state as it was, so it is finite unless training
    started from a state that was not.

    Attributes:
      step: learner step of the last one.
      batch: its `Unroll` of NumPy arrays [B, ...].
    """

    def __init__(self, step: int, batch: Unroll, state: TrainingState):
        """Looks for non-finite values in `batch` and in `state`."""
        self.step = step
        self.batch = batch
        found = [
            f"{name}{jax.tree_util.keystr(path)} ({count} of {np.size(leaf)})"
            for name, tree in (
                ("batch", batch),
                ("params", state.params),
                ("opt_state", state.opt_state),
                ("popart", state.popart),
            )
            for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
            if (count := np.count_nonzero(~np.isfinite(leaf)))
        ]
        if found:
            cause = f"Not finite: {', '.join(found)}."
        else:
            cause = (
                "Batch and learner state are finite, so numbers overflowed on the way: look at the "
                "size of the batch's rewards and behaviour_logits, and at the learning rate."
            )
        super().__init__(
            f"learner step {step}: the last {MAX_SKIPPED_IN_A_ROW} updates were skipped, at least "
            "in part, since the loss, the gradient or PopArt's statistics were not finite. "
            f"{cause} The last batch is this exception's `batch`."
        )


class BatchLearner:
    """Parameters, optimiser and statistics, and the updates that change them.

    `acme_learner.PopArtIMPALALearner` is one that takes its batches from a queue.

    Each minibatch is split over the local devices. The compiled update sees all of it, so gradients
    and PopArt statistics are those of one device with the whole minibatch.
    """

    def __init__(
        self, networks: Networks, config: Config, random_key: chex.PRNGKey, *, stacked: bool
    ):
        """Initialises parameters, optimiser and statistics.

        Args:
          networks: the network.
          config: the agent's settings.
          random_key: for the initial parameters.
          stacked: whether unrolls hold frame stacks as single frames.

        Raises:
          ValueError: a minibatch cannot be split evenly over the local devices.
        """
        devices = jax.local_devices()
        self._num_minibatches = config.num_minibatches(len(devices))
        mesh = jax.sharding.Mesh(np.asarray(devices), ("batch",))
        self._batch_sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("batch"))
        self._replicated = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
        self._config = config
        self._update = make_update(networks, config, stacked)
        self._shuffle = np.random.default_rng(0)
        self._state: TrainingState
        self._published: PolicyVariables | None  # as actors last received them
        self._metrics: dict[str, jax.Array]  # of the last update
        self._last_batch: Unroll  # of the last update
        self._skipped: jax.Array | None  # whether the last update was skipped; None once counted
        self._skipped_updates: int
        self._skipped_in_a_row: int
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
        """Environment frames consumed so far, including those before training was resumed."""
        return self._state.frames

    def learn(self, unrolls: Unroll) -> None:
        """Starts one update, which JAX computes while the caller continues.

        A gradient step that is not finite is skipped: parameters, optimiser and statistics stay as
        they are. The update then counts as skipped, but its step and frames still count.

        Args:
          unrolls: a batch, [B, ...] arrays.

        Raises:
          NonFiniteUpdates: the last `MAX_SKIPPED_IN_A_ROW` updates were skipped.
        """
        # JAX only enqueues an update. One may run while the next batch is fetched; more would be
        # batches waiting here, outside the queue's bound on policy lag.
        jax.block_until_ready(self._state.popart)
        self.check_last_update()
        state = self._state
        rate = learning_rate(self._config, state.frames)
        params, opt_state, popart_state = state.params, state.opt_state, state.popart
        skipped = []
        for part in self._minibatches(unrolls):
            params, opt_state, popart_state, metrics = self._update(
                params,
                opt_state,
                popart_state,
                jax.device_put(part, self._batch_sharding),
                np.float32(rate),
            )
            skipped.append(metrics.pop("skipped"))
        self._state = TrainingState(
            params,
            opt_state,
            popart_state,
            state.steps + 1,
            state.frames + self._config.frames_per_update,
        )
        self._metrics = metrics
        self._last_batch, self._skipped = unrolls, jnp.any(jnp.stack(skipped))

    def _minibatches(self, unrolls: Unroll) -> Iterator[Unroll]:
        """Yields the minibatches of a batch in turn, over all passes."""
        for _ in range(self._config.passes):
            if self._num_minibatches == 1:
                yield unrolls
                continue
            order = self._shuffle.permutation(self._config.batch_size)
            for rows in np.split(order, self._num_minibatches):
                yield jax.tree.map(lambda x, rows=rows: x[rows], unrolls)

    def check_last_update(self) -> None:
        """Waits for the last update.

        Raises:
          NonFiniteUpdates: the last `MAX_SKIPPED_IN_A_ROW` updates were skipped.
        """
        self._count_if_skipped()
        if self._skipped_in_a_row >= MAX_SKIPPED_IN_A_ROW:
            state = self.save()
            batch = jax.tree.map(np.asarray, self._last_batch)
            raise NonFiniteUpdates(state.steps, batch, state)

    def _count_if_skipped(self) -> None:
        """Waits for the last update and, if it was skipped, counts it once."""
        if self._skipped is None:
            return
        if self._skipped:
            self._skipped_updates += 1
            self._skipped_in_a_row += 1
        else:
            self._skipped_in_a_row = 0
        self._skipped = None

    def metrics(self) -> dict[str, Any]:
        """Waits for the last update and returns its metrics. There must have been one.

        Returns:
          Scalars and, for metrics per task, arrays [num_tasks].
        """
        values = jax.device_get(self._metrics)
        self._count_if_skipped()
        state = self._state
        # In learner steps, at each unroll's first action.
        lag = state.steps - 1 - np.asarray(self._last_batch.params_step)
        return {
            "learner_steps": state.steps,
            "frames": state.frames,
            "learning_rate": learning_rate(
                self._config, state.frames - self._config.frames_per_update
            ),
            "policy_lag_mean": float(lag.mean()),
            "policy_lag_max": int(lag.max()),
            "skipped_updates": self._skipped_updates,  # since the start or `restore`
            **values,
        }

    def get_variables(self, names: list[str]) -> list[PolicyVariables]:
        """Returns parameters and PopArt's scale as NumPy arrays, with their learner step.

        Args:
          names: each must be `variables.POLICY`.

        Raises:
          ValueError: a name is unknown.
        """
        for name in names:
            if name != POLICY:
                raise ValueError(f"unknown variables {name!r}: the learner publishes {POLICY!r}")
        state = self._state  # read once: the learner's thread may replace it meanwhile
        published = self._published
        if published is None or published.step != state.steps:
            # Once per version, however many actors ask.
            scale = popart.configured_scale(state.popart, self._config)
            params, scale = jax.device_get((state.params, scale))
            published = PolicyVariables(state.steps, params, scale.mu, scale.sigma)
            self._published = published
        return [published for _ in names]

    def save(self) -> TrainingState:
        """Returns the state as NumPy arrays."""
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
        self._published = None
        self._skipped = None
        self._skipped_updates = self._skipped_in_a_row = 0
