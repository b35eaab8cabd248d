"""The program's learner, actor and evaluator nodes.

Public methods are remote calls. Arguments and results exchanged with the coordinator are plain
Python values (Courier never answers a call whose arguments contain NumPy values).
"""

import os
import pathlib
import time
from typing import Any, NoReturn

import jax
import launchpad as lp
import reverb
from absl import logging
from acme.utils import counting

from agents.popart_impala.learning import NonFiniteUpdates
from agents.popart_impala.queue_meter import QueueMeter
from agents.popart_impala.types import PolicyVariables
from agents.popart_impala.unrolls import save_unroll
from agents.popart_impala.variables import POLICY
from environments import (
    BatchedEnvironment,
    EnvironmentFailed,
    EnvironmentFailure,
    GuardedEnvironment,
    make_batched_environment,
)
from launch_programs.nodes.skipped_updates import SkippedUpdates
from launch_programs.nodes.stopping import ProgramStopped, StoppableClient, ends_on_stop
from launch_programs.nodes.task_player import TaskPlayer
from launch_programs.run import provenance
from launch_programs.run.checkpointing import Checkpointer, CheckpointError
from launch_programs.run.metrics import Row, RowLogger
from launch_programs.run.parts import derive_seed, make_builder, make_run_networks
from launch_programs.run.run_config import RunConfig
from launch_programs.run.run_directory import RunDirectory

_LEARNER = "learner/0"


class LearnerNode:
    """Learns until the run's frames are consumed or the program stops; publishes parameters."""

    def __init__(
        self,
        config: RunConfig,
        checkpoints: pathlib.Path,
        queues: list[reverb.Client],
        coordinator: Any,
    ):
        """Makes the learner and restores the newest checkpoint.

        Args:
          config: the run.
          checkpoints: directory of the checkpoints.
          queues: clients of all queues.
          coordinator: client of the coordinator.
        """
        logging.set_verbosity(logging.WARNING)  # a node's output is for problems
        self._stop = lp.stop_event()
        self._config = config
        self._bad_batches = checkpoints.parent
        self._coordinator = coordinator = StoppableClient(coordinator, self._stop)

        meter = QueueMeter(queues, self._stop)

        skipped = SkippedUpdates()

        def record(row: Row) -> None:
            if (warning := skipped.warning(row)) is not None:
                print("warning:", warning, flush=True)  # the screen shows nodes' warnings
            coordinator.record("learner", [{**row, "queue_fill": meter.mean()}])

        builder = make_builder(
            config,
            logger=RowLogger(record, config.tasks),
            should_stop=self._stop.is_set,
        )
        self._learner = builder.make_learner(
            jax.random.PRNGKey(config.seed),
            builder.networks,
            builder.make_dataset_iterator(queues),
            counter=_counter(coordinator, "learner"),
        )
        self._checkpointer = Checkpointer(
            checkpoints,
            keep_interval=config.keep_learner_steps,
            warn=lambda text: coordinator.record_failure(_LEARNER, text),
        )
        self._counts: dict[str, float] = {}  # the coordinator's counts, as last received
        try:
            restored = self._checkpointer.restore(self._learner.save())
        except CheckpointError as error:
            self._give_up(str(error))
        if restored is not None:
            state, self._counts = restored
            self._learner.restore(state)
            skipped.steps = state.steps
            coordinator.restore_counts(self._counts)
        elif (step := coordinator.last_checkpoint()) is not None:
            # Starting over would lose that checkpoint.
            self._give_up(
                f"the checkpoint of step {step} is not in {checkpoints}: this directory must be "
                "the same wherever the learner runs (docs/cluster.md)"
            )
        try:
            # Recorded here because this machine does the learning, however the program was started.
            provenance.record(RunDirectory(checkpoints.parent), self._learner.frames)
        except (OSError, ValueError) as error:
            coordinator.record_failure(
                _LEARNER, f"what this run is trained with is not recorded: {error}"
            )

    def get_variables(self, names: list[str]) -> list[PolicyVariables]:
        """Called by actors and the evaluator; see `PopArtIMPALALearner.get_variables`."""
        return self._learner.get_variables(names)

    def run(self) -> None:
        """Learns; saves a checkpoint at every interval and at the end, whatever its cause."""
        try:
            with ends_on_stop(self._stop):
                self._learn()
        finally:
            self._save_last()
        with ends_on_stop(self._stop):
            self._coordinator.learner_done(finished=not self._stop.is_set())
            self._stop.wait()

    def _learn(self) -> None:
        saved = True  # whether the last attempt succeeded
        next_save = time.monotonic() + self._config.checkpoint_interval
        while self._learner.frames < self._config.last_frame:
            try:
                self._learner.step()
            except StopIteration:
                return  # the program is stopping, and the queue with it
            except NonFiniteUpdates as error:
                path = self._bad_batches / f"bad-batch-{error.step}.npz"
                try:
                    save_unroll(path, error.batch)
                    where = f"It is saved in {path}."
                except OSError as full:
                    where = f"It could not be saved: {full}."
                self._give_up(f"{error} {where}")
            if time.monotonic() >= next_save:
                try:
                    self._save()
                except CheckpointError as error:
                    # Earlier checkpoints remain, and the disk may have room again by the next one.
                    if saved:
                        self._coordinator.record_failure(_LEARNER, f"{error}; training continues")
                    saved = False
                else:
                    if not saved:
                        self._coordinator.record_failure(_LEARNER, "checkpoints are saved again")
                    saved = True
                next_save = time.monotonic() + self._config.checkpoint_interval

    def _give_up(self, cause: str) -> NoReturn:
        """Ends the program for a cause that would recur after a restart."""
        self._coordinator.give_up(_LEARNER, cause)
        self._stop.wait()
        raise ProgramStopped

    def _save_last(self) -> None:
        try:
            self._save()
        except CheckpointError as error:
            if not self._stop.is_set():
                raise
            # Launchpad drops exceptions that colocated nodes raise on a stop.
            newest = self._checkpointer.latest_step
            with ends_on_stop(self._stop):
                self._coordinator.record_failure(
                    _LEARNER, f"{error}; the newest checkpoint is of step {newest}"
                )

    def _save(self) -> None:
        # On a stop the coordinator may be slow or gone; the learner's own counts must not be lost.
        with ends_on_stop(self._stop):
            self._counts = self._coordinator.get_counts()
        state = self._learner.save()
        own = {"learner_steps": state.steps, "learner_frames": state.frames}
        self._checkpointer.save(state, {**self._counts, **own})
        with ends_on_stop(self._stop):
            self._coordinator.checkpoint_saved(state.steps)


class ActorNode:
    """Plays unrolls in its environments and writes them to the queue until the program stops."""

    def __init__(
        self,
        config: RunConfig,
        actor: int,
        unroll_queue: reverb.Client,
        learner: Any,
        coordinator: Any,
    ):
        """Stores its arguments; environments are created once the learner is up.

        Args:
          config: the run.
          actor: number of this actor, from 0.
          unroll_queue: client of the queue that it writes to.
          learner: client of the learner node.
          coordinator: client of the coordinator.
        """
        logging.set_verbosity(logging.WARNING)  # a node's output is for problems
        self._stop = lp.stop_event()
        self._config = config
        self._actor = actor
        self._name = f"actor/{actor}"
        self._queue = unroll_queue
        self._learner = StoppableClient(learner, self._stop)
        self._coordinator = StoppableClient(coordinator, self._stop)

    def run(self) -> None:
        """Acts until the program stops."""
        with ends_on_stop(self._stop):
            try:
                self._run()
            except EnvironmentFailed as error:
                self._coordinator.give_up(self._name, str(error))
                self._stop.wait()

    def _run(self) -> None:
        config = self._config
        builder = make_builder(config, should_stop=self._stop.is_set)
        # Waits for the learner, which has restored the counts by then and whose process may host
        # the queue. Reverb's own wait for its server would not notice a stop.
        self._learner.get_variables([POLICY])
        # A resumed run must not replay earlier games, so the seed depends on the steps so far.
        resumed_at = int(self._coordinator.get_counts().get("learner_steps", 0))
        seed = derive_seed(config.seed, self._actor, resumed_at)
        counter = _counter(self._coordinator, "actor")

        def make(attempt: int) -> BatchedEnvironment:
            return make_batched_environment(
                config.task_list(),
                config.task_indices(self._actor),
                atari=config.atari,
                seed=derive_seed(seed, attempt),
                num_threads=int(os.environ["NPROC"]) if "NPROC" in os.environ else None,
            )

        def on_failure(failure: EnvironmentFailure) -> None:
            print(failure.what, failure.cause, sep="\n", flush=True)
            counter.increment(environment_failures=1)
            if failure.in_a_row < config.max_environment_failures:
                self._coordinator.record_failure(
                    self._name,
                    f"{failure.what}; its environments are recreated ({failure.in_a_row} of less "
                    f"than {config.max_environment_failures} in a row)",
                )

        environment = GuardedEnvironment(
            make,
            task_names=config.tasks,
            deadline=config.environment_deadline,
            max_failures=config.max_environment_failures,
            on_failure=on_failure,
        )
        actor = builder.make_batched_actor(
            jax.random.PRNGKey(seed), environment, self._queue, self._learner
        )
        while not self._stop.is_set():
            episodes = actor.run_unroll()
            counter.increment(steps=actor.steps_per_unroll, episodes=len(episodes))
            if episodes:
                self._coordinator.record(
                    "actors",
                    [
                        {"actor": self._actor, **episode_row(episode, config.tasks)}
                        for episode in episodes
                    ],
                )


class EvaluatorNode:
    """Plays an episode of every task in an EnvironmentLoop, at intervals during training."""

    def __init__(self, config: RunConfig, learner: Any, coordinator: Any):
        """Stores its arguments.

        Args:
          config: the run; rounds are `evaluation_interval` frames apart.
          learner: client of the learner node.
          coordinator: client of the coordinator.
        """
        logging.set_verbosity(logging.WARNING)  # a node's output is for problems
        self._stop = lp.stop_event()
        self._config = config
        self._learner = StoppableClient(learner, self._stop)
        self._coordinator = StoppableClient(coordinator, self._stop)

    def run(self) -> None:
        """Evaluates until the program stops."""
        with ends_on_stop(self._stop):
            self._run()

    def _run(self) -> None:
        config = self._config
        networks = make_run_networks(config)
        players = [
            TaskPlayer(
                config,
                networks,
                task,
                self._learner,
                greedy=False,
                seed=derive_seed(config.seed, config.num_actors, task),
                should_stop=self._stop.is_set,
            )
            for task in range(len(config.tasks))
        ]
        done = self._frames() // config.evaluation_interval
        while not self._stop.wait(1.0):
            due = self._frames() // config.evaluation_interval
            if due == done:
                continue
            for player in players:
                row = episode_row(player.play(), config.tasks)
                self._coordinator.record("evaluator", [row])
            done = due

    def _frames(self) -> int:
        return int(self._coordinator.get_counts().get("learner_frames", 0))


def _counter(coordinator: Any, prefix: str) -> counting.Counter:
    """An Acme counter that forwards every count at once, so that checkpoints include them all."""
    return counting.Counter(coordinator, prefix, time_delta=0.0)


def episode_row(episode: Any, tasks: tuple[str, ...]) -> dict[str, Any]:
    """Converts a finished episode to a row of metrics."""
    return {
        "task": tasks[episode.task],
        "episode_return": episode.episode_return,
        "episode_length": episode.episode_length,  # agent steps
    }
