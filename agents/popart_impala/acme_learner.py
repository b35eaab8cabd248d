"""Queue -> batch -> update, as Acme's learner."""

import time
from collections.abc import Iterator

import acme
import chex
import reverb
from acme.utils import counting, loggers

from agents.popart_impala.config import Config
from agents.popart_impala.learning import BatchLearner
from agents.popart_impala.networks import Networks
from agents.popart_impala.training_state import TrainingState
from agents.popart_impala.types import Unroll


class PopArtIMPALALearner(BatchLearner, acme.Learner):
    """Acme's learner: one `step` is one update on one batch from the queue."""

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
          stacked: whether unrolls hold frame stacks as single frames.
          counter: gets `steps` and `frames`.
          logger: gets a row of metrics at most every `log_interval` seconds.
          log_interval: seconds.

        Raises:
          ValueError: a minibatch cannot be split evenly over the local devices.
        """
        self._dataset = dataset
        self._counter = counter
        self._logger = logger
        self._log_interval = log_interval
        self._log_time: float  # time and frames at the last row of metrics
        self._log_frames: int
        self._waited: float  # seconds since then spent waiting for batches
        super().__init__(networks, config, random_key, stacked=stacked)

    def step(self) -> None:
        """Takes one batch and makes one update; see `learn`.

        Raises:
          StopIteration: the dataset has ended.
          NonFiniteUpdates: the last `MAX_SKIPPED_IN_A_ROW` updates were skipped.
        """
        start = time.monotonic()
        try:
            unrolls: Unroll = next(self._dataset).data
        except StopIteration:
            self.check_last_update()
            raise
        self._waited += time.monotonic() - start
        self.learn(unrolls)
        if self._counter is not None:
            self._counter.increment(steps=1, frames=self._config.frames_per_update)
        if self._logger is not None and time.monotonic() >= self._log_time + self._log_interval:
            self._log(self._logger)

    def _log(self, logger: loggers.Logger) -> None:
        metrics = self.metrics()  # waits for the update
        now = time.monotonic()
        elapsed = now - self._log_time
        logger.write(
            {
                # These two come first, which sets the order of the table's columns.
                "learner_steps": metrics["learner_steps"],
                "frames": metrics["frames"],
                "frames_per_second": (self.frames - self._log_frames) / elapsed,
                # Near 1 the actors are the bottleneck, near 0 the learner. The last update may have
                # been running meanwhile, so this is not the device's idle share.
                "waiting_share": self._waited / elapsed,
                **metrics,
            }
        )
        self._log_time, self._log_frames, self._waited = now, self.frames, 0.0

    def restore(self, state: TrainingState) -> None:
        """Continues from a state that `save` returned."""
        super().restore(state)
        self._log_time = time.monotonic()
        self._log_frames = self.frames
        self._waited = 0.0
