"""Evaluates a run's newest checkpoint: `python -m launch_programs.evaluate --logdir=RUN`.

Plays every task in Acme's EnvironmentLoop, prints returns and human-normalised scores, and writes
them to the run directory. Tasks with levels are also played on levels not seen in training. With
--all_checkpoints, every checkpoint that the run has kept is evaluated and their scores are plotted.
Tasks that the run was not trained on, and other environment options, can be tried too.
"""

import dataclasses
import functools
import itertools
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import dm_env
import numpy as np
from absl import flags
from acme.utils import observers

from agents.popart_impala.acting import EpisodeResult
from agents.popart_impala.popart import configured_scale
from environments import Task, check_tasks, parse_level_name, unseen_options
from environments.families import FAMILIES
from environments.scores import (
    Aggregate,
    InterquartileMean,
    TaskScore,
    aggregate,
    interquartile_mean,
    score,
)
from launch_programs.console import command_line
from launch_programs.console.tables import print_table, screen
from launch_programs.nodes.task_player import FixedVariables, TaskPlayer
from launch_programs.run.checkpointing import SavedPolicy, restore_policy
from launch_programs.run.evaluations import Evaluation, evaluation_name, write_evaluation
from launch_programs.run.parts import make_run_networks
from launch_programs.run.run_config import RunConfig
from launch_programs.run.run_directory import RunDirectory, checkpoint_steps
from launch_programs.settings import flags as run_flags
from launch_programs.views.drawing import draw_checkpoints
from launch_programs.views.video import (
    GIF_SECONDS,
    EpisodeRecorder,
    VideoPaths,
    VideoWriter,
    video_paths,
)

FLAGS = flags.FLAGS

# Seconds between progress lines of a brief evaluation, and within a long episode.
_BRIEF_SECONDS = 10.0


def define_flags() -> None:
    """Defines the flags of this program."""
    flags.DEFINE_string("logdir", None, "Run directory to evaluate.", required=True)
    flags.DEFINE_string(
        "level_name",
        None,
        "Tasks or suite to play; by default all that the run was trained on. Others need "
        "--play_as.",
    )
    flags.DEFINE_string(
        "play_as",
        None,
        "Plays tasks that the run was not trained on as if they were this task of the run: with "
        "its statistics of images and, where the network is told the task, its index.",
    )
    flags.DEFINE_bool(
        "all_checkpoints",
        False,
        "Evaluates every checkpoint of the run, oldest first, and draws their scores "
        "(--keep_interval of `train`).",
    )
    run_flags.define_option_flags()
    flags.adopt_module_key_flags(run_flags)  # so that --help shows them
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


def load(directory: RunDirectory, step: int | None = None) -> tuple[RunConfig, SavedPolicy]:
    """A run's configuration and its policy at a learner step, by default the newest.

    Raises:
      ValueError: the directory contains no run or no checkpoint.
    """
    return directory.read_config(), restore_policy(directory, step)


@dataclasses.dataclass(frozen=True)
class Play:
    """A task to play."""

    config: RunConfig  # the run's, with this task among its tasks
    index: int  # of the task in that configuration
    trained: bool  # whether the run was trained on it

    @functools.cached_property
    def task(self) -> Task:
        """The task itself."""
        return self.config.task_list()[self.index]


def select_tasks(
    config: RunConfig,
    level_name: str | None,
    play_as: str | None = None,
    options: Mapping[str, Any] | None = None,
) -> list[Play]:
    """Selects the tasks to play.

    Args:
      config: the run.
      level_name: tasks or suites; None for all tasks of the run.
      play_as: task of the run in whose place other tasks are played.
      options: environment options that replace the run's, by name.

    Raises:
      ValueError: a task or option is not available; the message names the flag.
    """
    options = options or {}
    config = dataclasses.replace(config, atari=dataclasses.replace(config.atari, **options))
    (domain,) = {task.domain for task in config.task_list()}
    if options and not FAMILIES[domain].has_options:
        raise ValueError(f"{next(iter(options))}: tasks of {domain!r} have no such option")
    if play_as is not None and play_as not in config.tasks:
        raise ValueError(
            f"play_as={play_as!r}: must be a task of the run: {', '.join(config.tasks)}"
        )
    if level_name is None:
        return [Play(config, index, True) for index in range(len(config.tasks))]
    names = [task.name for task in parse_level_name(level_name)]
    foreign = [name for name in names if name not in config.tasks]
    if foreign and play_as is None:
        raise ValueError(
            f"level_name={level_name!r}: the run was not trained on {', '.join(foreign)}; its "
            f"tasks are {', '.join(config.tasks)}; --play_as=TASK plays others as one of them"
        )
    plays = []
    for name in names:
        if name in config.tasks:
            plays.append(Play(config, config.tasks.index(name), True))
            continue
        place = config.tasks.index(play_as)
        tasks = (*config.tasks[:place], name, *config.tasks[place + 1 :])
        plays.append(Play(dataclasses.replace(config, tasks=tasks), place, False))
    return plays


def evaluate(
    directory: RunDirectory,
    *,
    episodes: int,
    greedy: bool,
    seed: int,
    level_name: str | None = None,
    play_as: str | None = None,
    options: Mapping[str, Any] | None = None,
    step: int | None = None,
    brief: bool = False,
    video: bool = False,
    max_frames: int | None = None,
) -> Evaluation:
    """Plays, prints, and writes evaluation-STEPS[-greedy][-N].json and .csv.

    With `video`, each task's first episode is filmed too: videos/TASK-STEPS[-greedy][-N].mp4 and
    .gif, with the same N.

    Args:
      directory: the run directory.
      episodes: per task, at least 1.
      greedy: takes the likeliest actions instead of sampling.
      seed: seed of games and actions.
      level_name: tasks to play, by default all tasks of the run.
      play_as: task of the run in whose place other tasks are played.
      options: environment options that replace the run's, by name.
      step: learner step of the checkpoint, by default the newest.
      brief: prints a progress line every ten seconds only, not one per episode.
      video: films the first episode of each task. This does not change the episodes.
      max_frames: environment frames after which an episode is cut off; by default the run's own
        `evaluation_limit`.

    Returns:
      The evaluation that was written.

    Raises:
      ValueError: there is no checkpoint, a task cannot be played, or a task's code raises.
      OSError: a file cannot be written, or the checkpoint cannot be read.
    """
    config, policy = load(directory, step)
    plays = select_tasks(config, level_name, play_as, options)
    networks = make_run_networks(config)
    source = FixedVariables(policy, config.agent)
    how = "greedy" if greedy else "sampled"
    print(
        f"Evaluating {directory.path} at {policy.frames:,} frames: {episodes} episodes per task, "
        f"{how} actions",
        flush=True,
    )
    names = list(dict.fromkeys([*config.tasks, *(play.task.name for play in plays)]))
    stem = _free_stem(directory, f"{policy.steps}{'-greedy' if greedy else ''}", names, video)
    places = dict(zip(names, video_paths(directory.videos, names, stem), strict=True))
    scores: list[TaskScore] = []
    all_returns: dict[str, list[float]] = {}
    limit = max_frames or plays[0].config.evaluation_limit
    unseen = unseen_options(plays[0].config.task_list(), atari=plays[0].config.atari)
    reference = plays[0].task.reference
    attention: dict[str, list[float]] = {}
    videos: dict[str, VideoPaths] = {}
    progress = _Progress(episodes, brief=brief)
    try:
        for play in plays:
            task = play.task
            make_player = functools.partial(
                TaskPlayer,
                networks=networks,
                task=play.index,
                variable_source=source,
                greedy=greedy,
                seed=seed,
                max_frames=limit,
            )
            player = make_player(play.config, filmed=video)
            paths = places[task.name]
            film = functools.partial(_film, player, play, policy, paths, progress)
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
                other = make_player(dataclasses.replace(play.config, atari=unseen))
                unseen_returns, cut_unseen, _ = _play(other, task, episodes, progress, None)
                other.close()
                cut_off += cut_unseen
            scores.append(score(task, returns, cut_off, unseen_returns))
            all_returns[task.name] = returns
    except (Exception, KeyboardInterrupt):
        if scores:
            print("The tasks that were played until then:")
            _print(scores, None, None, reference=reference)
        raise
    evaluation = Evaluation(
        name=evaluation_name(stem),
        learner_steps=policy.steps,
        frames=policy.frames,
        greedy=greedy,
        seed=seed,
        tasks=scores,
        aggregate=aggregate([s.human_normalised for s in scores]),
        interquartile_mean=interquartile_mean(
            [play.task for play in plays], list(all_returns.values())
        ),
        returns=all_returns,
        attention=attention,
        videos=_relative(videos, directory),
        played_as={play.task.name: str(play_as) for play in plays if not play.trained},
        options=dict(options or {}),
    )
    try:  # write before printing, and print even if the write fails
        write_evaluation(directory, evaluation)
    finally:
        _print(scores, evaluation.aggregate, evaluation.interquartile_mean, reference=reference)
        if attention:
            _print_attention(attention)
        for cut in (s for s in scores if s.cut_off):
            print(
                f"{cut.task}: {cut.cut_off} of {cut.episodes} episodes were cut off after "
                f"{limit:,} frames (--evaluation_max_frames); returns are of what was played"
            )
    print(f"written to {directory.path}/evaluation-{stem}.json and .csv")
    return evaluation


def evaluate_all(
    directory: RunDirectory,
    *,
    level_name: str | None = None,
    play_as: str | None = None,
    options: Mapping[str, Any] | None = None,
    **arguments: Any,
) -> list[Evaluation]:
    """Evaluates every checkpoint, prints a table, and draws plots/checkpoints.png and .svg.

    Args:
      directory: the run directory.
      level_name: as for `evaluate`.
      play_as: as for `evaluate`.
      options: as for `evaluate`.
      **arguments: other arguments of `evaluate`, except `step`.

    Returns:
      The evaluations that were written, oldest checkpoint first.

    Raises:
      ValueError, OSError: as in `evaluate`.
    """
    evaluations = [
        evaluate(
            directory,
            step=step,
            level_name=level_name,
            play_as=play_as,
            options=options,
            **arguments,
        )
        for step in sorted(checkpoint_steps(directory.checkpoints))
    ]
    _print_checkpoints(evaluations)
    plays = select_tasks(directory.read_config(), level_name, play_as, options)
    for path in draw_checkpoints(directory, [play.task for play in plays], evaluations):
        print(f"written to {path}")
    return evaluations


class _Progress(observers.EnvLoopObserver):
    """Prints a line for each episode, and every ten seconds during a long one."""

    def __init__(self, episodes: int, *, brief: bool):
        """Prints nothing yet.

        Args:
          episodes: per task.
          brief: prints only a line every ten seconds.
        """
        self._episodes = episodes
        self._brief = brief
        self._next_line = time.monotonic() + _BRIEF_SECONDS

    def start(self, task: Task, episode: int) -> None:
        """Notes which episode of which task comes next, counted from 0."""
        self._name = f"  {task.name}: episode {episode + 1} of {self._episodes}"
        self._action_repeat = task.action_repeat
        self._started = time.monotonic()
        self._steps = 0
        self._return = 0.0

    def end(self, result: EpisodeResult, cut_off: bool) -> None:
        """Prints an episode's line, unless in brief mode and a line was printed recently."""
        if self._brief and time.monotonic() < self._next_line:
            return
        end = ", cut off" if cut_off else ""
        self._print(f"return {result.episode_return:,.1f}{end}")

    def observe_first(self, env: dm_env.Environment, timestep: dm_env.TimeStep) -> None:
        """Does nothing."""

    def observe(
        self, env: dm_env.Environment, timestep: dm_env.TimeStep, action: np.ndarray
    ) -> None:
        """Prints the progress of the episode if a line is due."""
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
      player: plays the task.
      task: the task.
      episodes: number of episodes.
      progress: reports each episode.
      film: plays the first episode; if it cannot write the video, that episode is played again.

    Returns:
      The returns, the number of episodes that were cut off, and whether there is a video.
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
    play: Play,
    policy: SavedPolicy,
    paths: VideoPaths,
    progress: observers.EnvLoopObserver,
) -> EpisodeResult:
    """Plays an episode and writes its video."""
    task, agent, screen = play.task, play.config.agent, player.screen
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
        index=play.index,
        scale=configured_scale(policy.popart, agent) if play.trained else None,
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


def _print(
    scores: list[TaskScore],
    total: Aggregate | None,
    middle: InterquartileMean | None,
    reference: str,
) -> None:
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
    # Columns that a narrow terminal may omit; the files have them all.
    spare = ("random", reference, "episodes", "std")
    print_table(screen(sys.stdout), headings, rows, names=["task"], spare=spare)
    if total is None:
        return
    print(
        f"{reference}-normalised over tasks: mean {total.mean:.1f} %, median {total.median:.1f} %, "
        f"capped mean {total.capped_mean:.1f} %",
    )
    if middle is not None:
        print(
            f"interquartile mean of all episodes: {middle.mean:.1f} %, 95 % interval "
            f"{middle.low:.1f} to {middle.high:.1f}"
        )
    if other := aggregate([s.unseen_normalised for s in scores]):
        print(f"on unseen levels: mean {other.mean:.1f} %, median {other.median:.1f} %")


def _print_checkpoints(evaluations: list[Evaluation]) -> None:
    """Prints a row per checkpoint: each task's mean return, and the interquartile mean."""
    tasks = [score.task for score in evaluations[0].tasks]
    middle = evaluations[0].interquartile_mean is not None
    rows = []
    for evaluation in evaluations:
        cells = [f"{evaluation.frames:,}", *(f"{score.mean:,.1f}" for score in evaluation.tasks)]
        if evaluation.interquartile_mean is not None:
            mean, low, high = evaluation.interquartile_mean
            cells.append(f"{mean:.1f} ({low:.1f} to {high:.1f})")
        rows.append(tuple(cells))
    headings = ["frames", *tasks, *(["interquartile mean %"] if middle else [])]
    print_table(screen(sys.stdout), headings, rows, names=["frames"])


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


def _free_stem(directory: RunDirectory, stem: str, tasks: Sequence[str], video: bool) -> str:
    """`stem`, with -2, -3, ... appended if earlier evaluations of the checkpoint have taken it."""
    for name in itertools.chain([stem], (f"{stem}-{n}" for n in itertools.count(2))):
        if (directory.path / evaluation_name(name)).exists():
            continue
        videos = video_paths(directory.videos, tasks, name) if video else []
        if not any(paths.taken for paths in videos):
            return name
    raise AssertionError  # the loop is endless


def main(argv: list[str]) -> None:
    """Entry point."""
    directory = RunDirectory(FLAGS.logdir)
    command_line.set_up_process()
    try:
        command_line.reject_positional_arguments(argv)
        config, _ = load(directory)
        directory.check_writable()
        options = run_flags.given_options()
        for play in select_tasks(config, FLAGS.level_name, FLAGS.play_as, options):
            check_tasks(play.config.task_list(), atari=play.config.atari)
    except (ValueError, OSError) as error:
        command_line.fail(error)
    try:
        (evaluate_all if FLAGS.all_checkpoints else evaluate)(
            directory,
            episodes=FLAGS.test_num_episodes,
            greedy=FLAGS.greedy,
            seed=FLAGS.seed,
            level_name=FLAGS.level_name,
            play_as=FLAGS.play_as,
            options=options,
            video=FLAGS.video,
            max_frames=FLAGS.evaluation_max_frames,
        )
    except (ValueError, OSError) as error:  # a task's code raises, or the disk is full
        command_line.fail(error)


if __name__ == "__main__":
    define_flags()
    command_line.run(main)
