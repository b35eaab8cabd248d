"""Sample Factory 2's APPO with its own Atari settings, on one game.

Started by `benchmarks.atari` in its own environment (sample_factory.txt). The settings are
those of `sf_examples.atari` (https://github.com/alex-petrenko/sample-factory), which comes with the
package.
"""

import sys
from typing import Any

import gymnasium
from sample_factory.algo.runners.runner import AlgoObserver
from sample_factory.algo.utils.misc import EPISODIC, ExperimentStatus
from sample_factory.envs.env_utils import register_env
from sample_factory.train import make_runner
from sf_examples.atari.atari_utils import ATARI_ENVS, make_atari_env
from sf_examples.atari.train_atari import parse_atari_args

from benchmarks.peers import records


def make_game(name: str, *arguments: Any, **options: Any) -> Any:
    """`make_atari_env`, in any process.

    Newer versions of ale-py, which include the games, do not register them with the older Gymnasium
    that Sample Factory needs.
    """
    (spec,) = [spec for spec in ATARI_ENVS if spec.name == name]
    gym_id = spec.env_id
    if gym_id not in gymnasium.registry:
        gymnasium.register(
            gym_id,
            entry_point="ale_py.env:AtariEnv",
            kwargs={
                "game": _rom(gym_id),
                "repeat_action_probability": 0.0,
                "full_action_space": False,
                "frameskip": 1,
                "max_num_frames_per_episode": 108_000,
            },
        )
    return make_atari_env(name, *arguments, **options)


def _rom(gym_id: str) -> str:
    """The ROM file's name for a Gym ID: ms_pacman for MsPacmanNoFrameskip-v4."""
    from ale_py import roms

    name = gym_id.removesuffix("NoFrameskip-v4")
    return next(rom for rom in roms.get_all_rom_ids() if records.gym_name(rom) == name)


class Recorder(AlgoObserver):
    """Writes the records, and ends training when asked to."""

    def __init__(self, tables: records.Records, stop: records.Stop):
        self._tables = tables
        self._stop = stop

    def on_start(self, runner: Any) -> None:
        """Called once the processes have started."""
        runner.register_episodic_stats_handler(self._on_episode)

    def on_training_step(self, runner: Any, training_iteration_since_resume: int) -> None:
        """Called after each update."""
        del training_iteration_since_resume
        lag = runner.policy_lag[0].get("version_diff_avg", float("nan"))
        self._tables.progress(runner.env_steps.get(0, 0), float(lag))
        if self._stop.asked:
            runner.cfg.train_for_seconds = -1  # ends it, with a checkpoint, after this update

    def _on_episode(self, runner: Any, message: dict[str, Any], policy: int) -> None:
        # From the wrapper next to the emulator: unclipped, and only at the end of a whole game.
        game = message[EPISODIC].get("RecordEpisodeStatistics_reward")
        if game is not None:
            length = int(message[EPISODIC]["RecordEpisodeStatistics_len"])
            self._tables.game(
                runner.env_steps.get(policy, 0), float(game), length // records.FRAMES_PER_STEP
            )


def main() -> int:
    """Trains; returns 0 when all frames are done."""
    arguments = records.parse_flags(__doc__)
    stop = records.Stop()
    tables = records.Records(arguments.logdir, arguments.level_name)
    gym_id = f"{records.gym_name(arguments.level_name)}NoFrameskip-v4"
    (spec,) = [spec for spec in ATARI_ENVS if spec.env_id == gym_id]
    register_env(spec.name, make_game)
    configuration = parse_atari_args(
        [
            f"--env={spec.name}",
            f"--train_dir={arguments.logdir}",
            "--experiment=model",
            f"--seed={arguments.seed}",
            "--device=cpu",
            f"--save_every_sec={records.CHECKPOINT_SECONDS:.0f}",
            # In frames: its Atari settings count them, not agent steps.
            f"--train_for_env_steps={arguments.frames}",
        ]
    )
    configuration, runner = make_runner(configuration)
    runner.register_observer(Recorder(tables, stop))
    status = runner.init()
    if status == ExperimentStatus.SUCCESS:
        status = runner.run()
    if status != ExperimentStatus.SUCCESS:
        return 1
    return records.STOPPED if stop.asked else 0


if __name__ == "__main__":
    sys.exit(main())
