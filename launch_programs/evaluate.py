"""Evaluates a run's newest checkpoint: `python -m launch_programs.evaluate --logdir=RUN`.

Plays every task in Acme's EnvironmentLoop, prints returns and human-normalised scores, and writes
them into the run directory. Tasks with levels are played again, on those that training does not
show.
"""

import dataclasses
import functools
import itertools
import sys
import time
from collections.abc import Callable

import dm_env
import numpy as np
from absl import flags
from acme.utils import observers

from agents.popart_impala.acting import EpisodeResult
from agents.popart_impala.popart import configured_scale
from environments import Task, check_tasks, parse_level_name, unseen_options
from environments.scores import Aggregate, TaskScore, aggregate, score
from launch_programs.console import command_line
from launch_programs.console.tables import print_table, screen
from launch_programs.nodes.task_player import FixedVariables, TaskPlayer
from launch_programs.run.checkpointing import SavedPolicy, restore_policy
from launch_programs.run.evaluations import Evaluation, evaluation_name, write_evaluation
from launch_programs.run.parts import make_run_networks
from launch_programs.run.run_config import RunConfig
from launch_programs.run.run_directory import RunDirectory
from launch_programs.views.video import (
    GIF_SECONDS,
    EpisodeRecorder,
    VideoPaths,
    VideoWriter,
    video_paths,
)

FLAGS = flags.FLAGS

# Seconds between lines of a brief evaluation, and of a long episode.
_BRIEF_SECONDS = 10.0


def define_flags() -> None:
    """Defines the flags of this program."""
    flags.DEFINE_string("logdir", None, "Run directory to evaluate.", required=True)
    flags.DEFINE_string(
        "level_name",
        None,
        "Tasks or suite to play, of those that the run was trained on; by default all of them.",
    )
    flags.DEFINE_integer("test_num_episodes", 10, "Episodes per task.", lower_bound=1)
    flags.DEFINE_bool("greedy", False, "Takes the likeliest actions instead of sampling.")
    flags.DEFINE_integer("seed", 1, "Seed of games and actions.", lower_bound=0)
    flags.DEFINE_integer(
        "evaluation_max_frames",
        None,
        "Environment frames after which an episode is cut off; by default the run's "
        "--evaluation_max_frames.",
        lower_bound=1,
    )
    flags.DEFINE_bool(
        "video",
        False,
        "Films each task's first episode, as RUN/videos/TASK-STEPS.mp4 and, its first "
        f"{GIF_SECONDS} seconds, as .gif.",
    )


def load(directory: RunDirectory) -> tuple[RunConfig, SavedPolicy]:
    """A run's configuration and newest policy.

    Raises:
      ValueError: the directory has no run or no checkpoint.
    """
    return directory.read_config(), restore_policy(directory)


def select_tasks(config: RunConfig, level_name: str | None) -> list[int]:
    """Indices of the tasks to play.

    Raises:
      ValueError: a task is unknown, or the run was not trained on it.
    """
    if level_name is None:
        return list(range(len(config.tasks)))
    names = [task.name for task in parse_level_name(level_name)]
    foreign = [name for name in names if name not in config.tasks]
    if foreign:
        raise ValueError(
            f"level_name={level_name!r}: the run was not trained on {', '.join(foreign)}; its "
            f"tasks are {', '.join(config.tasks)}"
        )
    return [config.tasks.index(name) for name in names]


def evaluate(
    directory: RunDirectory,
    *,
    episodes: int,
    greedy: bool,
    seed: int,
    level_name: str | None = None,
    brief: bool = False,
    video: bool = False,
    max_frames: int | None = None,
) -> list[TaskScore]:
    """Plays, prints, and writes evaluation-STEPS[-greedy][-N].json and .csv.

    With `video`, each task's first episode is filmed too: videos/TASK-STEPS[-greedy][-N].mp4 and
    .gif, of the same N.

    Args:
      directory: of the run.
      episodes: per task, at least 1.
      greedy: takes the likeliest actions instead of sampling.
      seed: of games and actions.
      level_name: tasks to play, all by default.
      brief: prints a line of progress every ten seconds only, and not one for each episode.
      video: films the first episode of each task. The episodes are the same ones as without.
      max_frames: environment frames after which an episode is cut off; by default the run's own
        `evaluation_limit`.

    Returns:
      The scores, in the order of the tasks.

    Raises:
      ValueError: there is no checkpoint, a task is not the run's, or its code raises.
      OSError: a file cannot be written.
    """
    config, policy = load(directory)
    indices = select_tasks(config, level_name)
    tasks = config.task_list()
    networks = make_run_networks(config)
    source = FixedVariables(policy, config.agent)
    how = "greedy" if greedy else "sampled"
    print(
        f"Evaluating {directory.path} at {policy.frames:,} frames: {episodes} episodes per task, "
        f"{how} actions",
        flush=True,
    )
    stem = _free_stem(directory, f"{policy.steps}{'-greedy' if greedy else ''}", config, video)
    scores: list[TaskScore] = []
    limit = max_frames or config.evaluation_limit
    unseen = unseen_options(tasks, atari=config.atari)
    attention: dict[str, list[float]] = {}
    videos: dict[str, VideoPaths] = {}
    progress = _Progress(episodes, brief=brief)
    try:
        for index in indices:
            task = tasks[index]
            make_player = functools.partial(
                TaskPlayer,
                networks=networks,
                task=index,
                variable_source=source,
                greedy=greedy,
                seed=seed,
                max_frames=limit,
            )
            player = make_player(config, filmed=video)
            paths = _videos(directory, config, stem)[index]
            film = functools.partial(_film, player, config, policy, index, paths, progress)
            returns, cut_off, filmed = _play(
                player, task, episodes, progress, film if video else None
            )
            if filmed:
                videos[task.name] = paths
            player.close()
            if player.mean_attention is not None:
                attention[task.name] = player.mean_attention
            unseen_returns: list[float] = []
            if unseen is not None:
                other = make_player(dataclasses.replace(config, atari=unseen))
                unseen_returns, cut_unseen, _ = _play(other, task, episodes, progress, None)
                other.close()
                cut_off += cut_unseen
            scores.append(score(task, returns, cut_off, unseen_returns))
    except (Exception, KeyboardInterrupt):
        if scores:
            print("The tasks that were played until then:")
            _print(scores, None, reference=tasks[0].reference)
        raise
    total = aggregate([s.human_normalised for s in scores])
    try:  # written before they are printed, and printed even if they cannot be written
        write_evaluation(
            directory,
            Evaluation(
                name=evaluation_name(stem),
                learner_steps=policy.steps,
                frames=policy.frames,
                greedy=greedy,
                seed=seed,
                tasks=scores,
                aggregate=total,
                attention=attention,
                videos=_relative(videos, directory),
            ),
        )
    finally:
        _print(scores, total, reference=tasks[0].reference)
        if attention:
            _print_attention(attention)
        for cut in (s for s in scores if s.cut_off):
            print(
                f"{cut.task}: {cut.cut_off} of {cut.episodes} episodes were cut off after "
                f"{limit:,} frames (--evaluation_max_frames); returns are of what was played"
            )
    print(f"written to {directory.path}/evaluation-{stem}.json and .csv")
    return scores


class _Progress(observers.EnvLoopObserver):
    """Prints a line for each episode, and every ten seconds how a long one goes."""

    def __init__(self, episodes: int, *, brief: bool):
        """Prints nothing yet.

        Args:
          episodes: of each task.
          brief: prints nothing else than a line every ten seconds.
        """
        self._episodes = episodes
        self._brief = brief
        self._next_line = time.monotonic() + _BRIEF_SECONDS

    def start(self, task: Task, episode: int) -> None:
        """Notes which episode of which task comes, counted from 0."""
        self._name = f"  {task.name}: episode {episode + 1} of {self._episodes}"
        self._action_repeat = task.action_repeat
        self._started = time.monotonic()
        self._steps = 0
        self._return = 0.0

    def end(self, result: EpisodeResult, cut_off: bool) -> None:
        """Prints an episode's line, unless it is brief and one was printed not long ago."""
        if self._brief and time.monotonic() < self._next_line:
            return
        end = ", cut off" if cut_off else ""
        self._print(f"return {result.episode_return:,.1f}{end}")

    def observe_first(self, env: dm_env.Environment, timestep: dm_env.TimeStep) -> None:
        """Does nothing."""

    def observe(
        self, env: dm_env.Environment, timestep: dm_env.TimeStep, action: np.ndarray
    ) -> None:
        """Prints how the episode goes if it is time."""
        self._steps += 1
        self._return += float(timestep.reward)
        if time.monotonic() >= self._next_line and not timestep.last():
            self._print(f"{self._steps * self._action_repeat:,} frames, return {self._return:,.1f}")

    def get_metrics(self) -> dict[str, float]:
        """None."""
        return {}

    def _print(self, text: str) -> None:
        print(f"{self._name}, {text} ({time.monotonic() - self._started:.0f} s)", flush=True)
        self._next_line = time.monotonic() + _BRIEF_SECONDS


def _play(
    player: TaskPlayer,
    task: Task,
    episodes: int,
    progress: _Progress,
    film: Callable[[], EpisodeResult] | None,
) -> tuple[list[float], int, bool]:
    """Plays a task's episodes.

    Args:
      player: of the task.
      task: that is played.
      episodes: how many.
      progress: is told of each.
      film: plays the first one; where it cannot write the video, that episode is played again.

    Returns:
      The returns, how many episodes were cut off, and whether there is a video.
    """
    returns: list[float] = []
    cut_off = 0
    filmed = False
    while len(returns) < episodes:
        progress.start(task, len(returns))
        if film is None:
            result = player.play(progress)
        else:
            filming, film = film, None
            try:
                result = filming()
            except OSError as error:  # a full disk
                print(f"  {task.name}: not filmed, and played again: {error}", flush=True)
                continue
            filmed = True
        returns.append(result.episode_return)
        cut_off += player.cut_off
        progress.end(result, player.cut_off)
    return returns, cut_off, filmed


def _film(
    player: TaskPlayer,
    config: RunConfig,
    policy: SavedPolicy,
    index: int,
    paths: VideoPaths,
    progress: observers.EnvLoopObserver,
) -> EpisodeResult:
    """Plays an episode and writes its video."""
    task, agent, screen = config.task_list()[index], config.agent, player.screen
    assert screen is not None  # it is filmed
    if screen.missing:
        alone = "; the video has the panel alone" if screen.frames is None else ""
        print(f"  {task.name}: no pictures of the environment{alone}: {screen.missing}", flush=True)
    writer = VideoWriter(paths, screen.frames_per_second)
    recorder = EpisodeRecorder(
        writer,
        screen,
        player.actor,
        task=task.name,
        index=index,
        scale=configured_scale(policy.popart, agent),
        action_repeat=task.action_repeat,
        value_label="value" if agent.reward_clipping == "none" else "value (clipped)",
    )
    try:
        result = player.play(recorder, progress)
        writer.finish()
    finally:
        writer.abandon()
    print(f"  {task.name}: filmed, {paths.mp4} and .gif", flush=True)
    if recorder.missing:
        print(f"  {task.name}: pictures are missing in it: {recorder.missing}", flush=True)
    return result


def _print(scores: list[TaskScore], total: Aggregate | None, reference: str) -> None:
    unseen = any(s.unseen_mean is not None for s in scores)
    rows = [
        (
            s.task,
            str(s.episodes),
            *(
                "-" if x is None else f"{x:,.1f}"
                for x in (
                    s.mean,
                    s.standard_deviation,
                    s.random,
                    s.human,
                    s.human_normalised,
                    *((s.unseen_mean, s.unseen_normalised) if unseen else ()),
                )
            ),
        )
        for s in scores
    ]
    headings = ["task", "episodes", "mean", "std", "random", reference, "normalised %"]
    headings += ["unseen", "unseen %"] if unseen else []
    # The files have all of them.
    spare = ("random", reference, "episodes", "std")
    print_table(screen(sys.stdout), headings, rows, names=["task"], spare=spare)
    if total is None:
        return
    print(
        f"{reference}-normalised over tasks: mean {total.mean:.1f} %, median {total.median:.1f} %, "
        f"capped mean {total.capped_mean:.1f} %",
    )
    if other := aggregate([s.unseen_normalised for s in scores]):
        print(f"on unseen levels: mean {other.mean:.1f} %, median {other.median:.1f} %")


def _print_attention(attention: dict[str, list[float]]) -> None:
    subnets = len(next(iter(attention.values())))
    name = "attention, mean over steps"
    headings = [name, *(f"sub-network {subnet}" for subnet in range(subnets))]
    rows = [(task, *(f"{weight:.3f}" for weight in weights)) for task, weights in attention.items()]
    print_table(screen(sys.stdout), headings, rows, names=[name])


def _relative(videos: dict[str, VideoPaths], directory: RunDirectory) -> dict[str, dict[str, str]]:
    """Task -> kind of file -> its path within the run directory."""
    return {
        task: {
            kind: str(path.relative_to(directory.path)) for kind, path in paths._asdict().items()
        }
        for task, paths in videos.items()
    }


def _videos(directory: RunDirectory, config: RunConfig, stem: str) -> list[VideoPaths]:
    """Where the videos of each of the run's tasks belong."""
    return video_paths(directory.videos, config.tasks, stem)


def _free_stem(directory: RunDirectory, stem: str, config: RunConfig, video: bool) -> str:
    """`stem`, or with -2, -3, ... behind it if an earlier evaluation of the checkpoint has it."""
    for name in itertools.chain([stem], (f"{stem}-{n}" for n in itertools.count(2))):
        if (directory.path / evaluation_name(name)).exists():
            continue
        if not video or not any(paths.taken for paths in _videos(directory, config, name)):
            return name
    raise AssertionError  # the names do not end


def main(argv: list[str]) -> None:
    """Entry point."""
    directory = RunDirectory(FLAGS.logdir)
    command_line.set_up_process()
    try:
        command_line.reject_positional_arguments(argv)
        config, _ = load(directory)
        directory.check_writable()
        select_tasks(config, FLAGS.level_name)
        check_tasks(config.task_list(), atari=config.atari)
    except (ValueError, OSError) as error:
        command_line.fail(error)
    try:
        evaluate(
            directory,
            episodes=FLAGS.test_num_episodes,
            greedy=FLAGS.greedy,
            seed=FLAGS.seed,
            level_name=FLAGS.level_name,
            video=FLAGS.video,
            max_frames=FLAGS.evaluation_max_frames,
        )
    except (ValueError, OSError) as error:  # a task's code raises, or the disk is full
        command_line.fail(error)


if __name__ == "__main__":
    define_flags()
    command_line.run(main)
