"""Runs a population on Ray Tune: when members train, and which ones copy from which."""

import logging
import os
import pathlib
import random
from collections.abc import Mapping
from typing import Any

import numpy as np
from ray import tune
from ray.tune.schedulers import FIFOScheduler, PopulationBasedTraining, TrialScheduler
from ray.tune.search.basic_variant import BasicVariantGenerator

from launch_programs.run.metrics import CSVTable
from launch_programs.run.population import PopulationConfig, PopulationDirectory, Row
from launch_programs.tuning.trainable import INTERVALS, SCORE, MemberTrainable, member_number

# Times that a member's failed program is restarted from its newest checkpoint.
_RETRIES = 2

# Saved states kept per member; with fewer, one may be deleted while another member copies it.
_KEPT_STATES = 4


def run(path: pathlib.Path, resources: Mapping[str, float]) -> list[str]:
    """Trains a population to its end, or continues one that was interrupted.

    Ray must be connected. SIGINT ends it cleanly.

    Args:
      path: the population's directory, which contains its settings; each member's row is appended
        to its table, and printed.
      resources: what a member asks of a Ray host, such as {"CPU": 2}.

    Returns:
      Why members have failed for good.
    """
    directory = PopulationDirectory(path)
    config = directory.read_config()
    # The project's programs must be importable from the directory that this one was started in.
    os.environ["RAY_CHDIR_TO_TRIAL_DIR"] = "0"
    # Each run directory has its own curves.
    os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"
    os.environ["RAY_AIR_NEW_OUTPUT"] = "0"
    # We report failures and interruptions ourselves.
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    # Ray Tune spells these two in lower case, and other resources as they are.
    names = {"CPU": "cpu", "GPU": "gpu"}
    trainable = tune.with_resources(
        MemberTrainable, {names.get(name, name): amount for name, amount in resources.items()}
    )
    space = {"population": str(directory.path), **_draws(config)}
    # Ray Tune uses these generators to choose what to perturb and which member to copy.
    random.seed(config.run.seed)
    np.random.seed(config.run.seed % 2**32)
    state = str(directory.ray)
    if tune.Tuner.can_restore(state):
        tuner = tune.Tuner.restore(state, trainable, resume_errored=True, param_space=space)
    else:
        tuner = tune.Tuner(
            trainable,
            param_space=space,
            tune_config=tune.TuneConfig(
                metric=SCORE,
                mode="max",
                reuse_actors=True,
                num_samples=config.members,
                scheduler=_scheduler(config),
                search_alg=BasicVariantGenerator(
                    # The first member begins with the settings of an ordinary run.
                    points_to_evaluate=[
                        {name: getattr(config.run.agent, name) for name in config.ranges}
                    ],
                    random_state=config.run.seed % 2**32,
                ),
            ),
            run_config=tune.RunConfig(
                name=directory.ray.name,
                storage_path=str(directory.path),
                callbacks=[_Follower(directory, config)],
                checkpoint_config=tune.CheckpointConfig(
                    checkpoint_frequency=1, num_to_keep=_KEPT_STATES
                ),
                failure_config=tune.FailureConfig(max_failures=_RETRIES),
                verbose=0,
            ),
        )
    return [_last_line(error) for error in tuner.fit().errors]


def _draws(config: PopulationConfig) -> dict[str, Any]:
    """The Ray Tune distribution that each tuned setting is drawn from."""
    return {name: tune.loguniform(*bounds) for name, bounds in config.ranges.items()}


def _scheduler(config: PopulationConfig) -> TrialScheduler:
    if config.scheduler == "random":
        return FIFOScheduler()

    def into_ranges(values: dict[str, Any]) -> dict[str, Any]:
        bounded = {
            name: float(np.clip(values[name], *bounds)) for name, bounds in config.ranges.items()
        }
        return {**values, **bounded}

    return PopulationBasedTraining(
        time_attr=INTERVALS,
        perturbation_interval=1,
        hyperparam_mutations=_draws(config),
        custom_explore_fn=into_ranges,
        synch=True,  # members are compared at equal frame counts
    )


def _last_line(error: Exception) -> str:
    """The exception that a member's process raised; Ray puts tracebacks before it."""
    return str(error).strip().splitlines()[-1]


class _Follower(tune.Callback):
    """Appends results to the population's table, and prints them."""

    def __init__(self, directory: PopulationDirectory, config: PopulationConfig):
        self._directory = directory
        self._config = config

    def on_trial_result(
        self, iteration: int, trials: Any, trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """Called by Ray Tune, in the process that runs it."""
        del iteration, trials, trial, info
        row = Row(
            **{name: result[name] for name in Row._fields if name != "tuned"},
            tuned={name: result[name] for name in self._config.ranges},
        )
        CSVTable(self._directory.table).append([row.to_row()])
        print(describe(row, self._config), flush=True)

    def on_trial_recover(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        """Called by Ray Tune when a member's process has failed and is restarted."""
        del iteration, trials, info
        member = member_number(trial.trial_id)
        logs = self._directory.member(member).logs
        print(
            f"member {member} has failed and is started again; its output is in {logs}",
            flush=True,
        )


def describe(row: Row, config: PopulationConfig) -> str:
    """Formats a member's row as a line."""
    tuned = "  ".join(f"{name} {value:.3g}" for name, value in row.tuned.items())
    copied = row.parent not in (-1, row.member)
    return (
        f"interval {row.interval + 1} of {config.intervals}  member {row.member}  "
        f"{row.frames:,} frames  score {row.score:,.1f}  {tuned}"
        + (f"  continued from member {row.parent}" if copied else "")
    )
