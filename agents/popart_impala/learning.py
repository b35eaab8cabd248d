"""Queue -> batch -> update, as Acme's learner; what is saved and restored."""

import time
from collections.abc import Iterator

import acme
import chex
import jax
import jax.numpy as jnp
import numpy as np
import reverb
from acme.utils import counting, loggers

from agents.popart_impala import popart
from agents.popart_impala.config import Config
from agents.popart_impala.networks import Networks
from agents.popart_impala.training_state import TrainingState, learning_rate, make_optimiser
from agents.popart_impala.types import PolicyVariables, Unroll
from agents.popart_impala.update import make_update
from agents.popart_impala.variables import POLICY

# Skipped updates in a row after which learning ends. One bad batch passes by, and the queue and the
# batches on their way hold a few; after ten there is no reason to think that the next is better.
MAX_SKIPPED_IN_A_ROW = 10


class NonFiniteUpdates(Exception):
    """Many updates in a row were not finite and have been skipped.

    The learner's state is the one before them, and finite unless training began from another.

    Attributes:
      step: learner step of the last of them.
      batch: its `Unroll` of NumPy arrays [B, ...].
    """

    def __init__(self, step: int, batch: Unroll, state: TrainingState):
        """Looks for what is not finite in `batch` and in `state`."""
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
            f"learner step {step}: the last {MAX_SKIPPED_IN_A_ROW} updates were skipped, since the "
            f"loss, the gradient or PopArt's statistics were not finite. {cause} The last batch is "
            "this exception's `batch`."
        )


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
          ValueError: a minibatch cannot be split evenly over the local devices.
        """
        devices = jax.local_devices()
        self._num_minibatches = config.num_minibatches(len(devices))
        mesh = jax.sharding.Mesh(np.asarray(devices), ("batch",))
        self._batch_sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("batch"))
        self._replicated = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
        self._config = config
        self._dataset = dataset
        self._counter = counter
        self._logger = logger
        self._log_interval = log_interval
        self._update = make_update(networks, config, stacked)
        self._shuffle = np.random.default_rng(0)
        self._state: TrainingState
        self._published: PolicyVariables | None  # as actors got them last
        self._log_time: float  # when and at which frames the last row of metrics was written
        self._log_frames: int
        self._waited: float  # seconds since then in which the learner waited for batches
        self._last_batch: Unroll  # of the last update
        self._skipped: jax.Array | None  # whether it was skipped; None when that has been counted
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
        """Environment frames consumed so far, earlier runs of a resumed training included."""
        return self._state.frames

    def step(self) -> None:
        """Takes one batch and makes one update.

        An update that is not finite is skipped: parameters, optimiser and statistics stay as they
        are. Its step and frames count.

        Raises:
          StopIteration: the dataset has ended.
          NonFiniteUpdates: the last `MAX_SKIPPED_IN_A_ROW` updates were skipped.
        """
        start = time.monotonic()
        try:
            unrolls: Unroll = next(self._dataset).data
        except StopIteration:
            self._check_last_update()
            raise
        self._waited += time.monotonic() - start
        # JAX only queues an update. One may run while the next batch is fetched; more would be
        # batches that wait here, unseen by the queue's bound on the policy lag.
        jax.block_until_ready(self._state.popart)
        self._check_last_update()
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
        frames = self._config.frames_per_update
        self._state = TrainingState(
            params, opt_state, popart_state, state.steps + 1, state.frames + frames
        )
        self._last_batch, self._skipped = unrolls, jnp.any(jnp.stack(skipped))
        if self._counter is not None:
            self._counter.increment(steps=1, frames=frames)
        if self._logger is not None and time.monotonic() >= self._log_time + self._log_interval:
            lag = state.steps - np.asarray(unrolls.params_step)
            self._log(self._logger, metrics, lag, rate)

    def _minibatches(self, unrolls: Unroll) -> Iterator[Unroll]:
        """The parts of a batch that are learned from one after another, for all passes."""
        for _ in range(self._config.passes):
            if self._num_minibatches == 1:
                yield unrolls
                continue
            order = self._shuffle.permutation(self._config.batch_size)
            for rows in np.split(order, self._num_minibatches):
                yield jax.tree.map(lambda x, rows=rows: x[rows], unrolls)

    def _check_last_update(self) -> None:
        self._count_if_skipped()
        if self._skipped_in_a_row >= MAX_SKIPPED_IN_A_ROW:
            state = self.save()
            batch = jax.tree.map(np.asarray, self._last_batch)
            raise NonFiniteUpdates(state.steps, batch, state)

    def _count_if_skipped(self) -> None:
        """Counts the last update if it was skipped, once; waits for it."""
        if self._skipped is None:
            return
        if self._skipped:
            self._skipped_updates += 1
            self._skipped_in_a_row += 1
        else:
            self._skipped_in_a_row = 0
        self._skipped = None

    def _log(
        self, logger: loggers.Logger, metrics: dict[str, jax.Array], lag: np.ndarray, rate: float
    ) -> None:
        values = jax.device_get(metrics)  # waits for the update
        self._count_if_skipped()
        now = time.monotonic()
        state = self._state
        logger.write(
            {
                "learner_steps": state.steps,
                "frames": state.frames,
                "frames_per_second": (state.frames - self._log_frames) / (now - self._log_time),
                # Near 1 the actors are the bottleneck, near 0 the learner. The last update may have
                # run in that time: this is not the share in which the device was idle.
                "waiting_share": self._waited / (now - self._log_time),
                "learning_rate": rate,
                "policy_lag_mean": float(lag.mean()),  # learner steps, at an unroll's first action
                "policy_lag_max": int(lag.max()),
                "skipped_updates": self._skipped_updates,  # since the start or `restore`
                **values,
            }
        )
        self._log_time, self._log_frames, self._waited = now, state.frames, 0.0

    def get_variables(self, names: list[str]) -> list[PolicyVariables]:
        """Parameters and PopArt's scale as NumPy arrays, with the learner step that made them.

        Args:
          names: each must be `variables.POLICY`.

        Raises:
          ValueError: another name.
        """
        for name in names:
            if name != POLICY:
                raise ValueError(f"unknown variables {name!r}: the learner publishes {POLICY!r}")
        state = self._state  # one reference: the learner's thread may set another meanwhile
        published = self._published
        if published is None or published.step != state.steps:
            # Once for each version, however many actors ask.
            scale = popart.configured_scale(state.popart, self._config)
            params, scale = jax.device_get((state.params, scale))
            published = PolicyVariables(state.steps, params, scale.mu, scale.sigma)
            self._published = published
        return [published for _ in names]

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
        self._published = None
        self._log_time = time.monotonic()
        self._log_frames = self._state.frames
        self._waited = 0.0
        self._skipped = None
        self._skipped_updates = self._skipped_in_a_row = 0
