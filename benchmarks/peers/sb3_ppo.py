"""Stable-Baselines3's PPO with the Atari settings of rl-baselines3-zoo, on one game.

Started by `benchmarks.atari` in its own environment (sb3_ppo.txt). The settings are those of
https://github.com/DLR-RM/rl-baselines3-zoo/blob/master/hyperparams/ppo.yml, section atari;
everything else is the default of Stable-Baselines3 and the zoo, such as stepping the eight games in
turn in one process.
"""

import sys
import time
from collections.abc import Callable

import ale_py
import gymnasium
from stable_baselines3 import PPO
from stable_baselines3.common.atari_wrappers import AtariWrapper
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecFrameStack

from benchmarks.peers import records

SETTINGS = {
    "n_steps": 128,
    "n_epochs": 4,
    "batch_size": 256,
    "vf_coef": 0.5,
    "ent_coef": 0.01,
}
NUM_ENVIRONMENTS = 8
LEARNING_RATE = 2.5e-4
CLIP_RANGE = 0.1


def linear(start: float) -> Callable[[float], float]:
    """A schedule from `start` to 0 as the remaining progress goes from 1 to 0."""
    return lambda remaining: start * remaining


class Recorder(BaseCallback):
    """Writes the records and the checkpoints, and ends training when asked to."""

    def __init__(self, tables: records.Records, stop: records.Stop, save: Callable[[], None]):
        super().__init__()
        self._tables = tables
        self._stop = stop
        self._save = save
        self._next_save = time.monotonic() + records.CHECKPOINT_SECONDS

    @property
    def _frames(self) -> int:
        return records.FRAMES_PER_STEP * self.num_timesteps

    def _on_training_start(self) -> None:
        self._tables.progress(self._frames, 0.0)

    def _on_rollout_start(self) -> None:
        # Between updates: in the middle of a rollout, a resumed run would lose its samples.
        if time.monotonic() >= self._next_save and not self._stop.asked:
            self._save()
            self._next_save = time.monotonic() + records.CHECKPOINT_SECONDS
        self._stopping = self._stop.asked

    def _on_step(self) -> bool:
        for info in self.locals["infos"]:
            # Monitor is below the wrapper that ends episodes at lost lives: these are whole games.
            if "episode" in info:
                game = info["episode"]
                length = game["l"] // records.FRAMES_PER_STEP  # it counts frames
                self._tables.game(self._frames, float(game["r"]), int(length))
        self._tables.progress(self._frames, 0.0)
        return not self._stopping


def main() -> int:
    """Trains; returns 0 when all frames are done."""
    arguments = records.parse_flags(__doc__)
    stop = records.Stop()
    tables = records.Records(arguments.logdir, arguments.level_name)
    gymnasium.register_envs(ale_py)
    environment = VecFrameStack(
        make_vec_env(
            f"{records.gym_name(arguments.level_name)}NoFrameskip-v4",
            n_envs=NUM_ENVIRONMENTS,
            seed=arguments.seed,
            wrapper_class=AtariWrapper,
        ),
        n_stack=4,
    )
    schedules = {"learning_rate": linear(LEARNING_RATE), "clip_range": linear(CLIP_RANGE)}
    checkpoint = arguments.logdir / "model.zip"
    if checkpoint.exists():
        model = PPO.load(checkpoint, env=environment, device="cpu", custom_objects=schedules)
        # So as not to repeat the games from before the checkpoint.
        model.set_random_seed(arguments.seed + model.num_timesteps)
    else:
        model = PPO(
            "CnnPolicy", environment, seed=arguments.seed, device="cpu", **SETTINGS, **schedules
        )

    def save() -> None:
        temporary = checkpoint.with_name("model.tmp.zip")
        model.save(temporary, exclude=list(schedules))
        records.replace(temporary, checkpoint)

    steps = -(-arguments.frames // records.FRAMES_PER_STEP) - model.num_timesteps
    if steps > 0:
        model.learn(steps, callback=Recorder(tables, stop, save), reset_num_timesteps=False)
        if not stop.asked:
            save()
    environment.close()
    return records.STOPPED if stop.asked else 0


if __name__ == "__main__":
    sys.exit(main())
