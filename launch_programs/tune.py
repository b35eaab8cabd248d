"""Tunes settings: `python -m launch_programs.tune --level_name=atari3 --population=8`.

Trains a population of runs on Ray Tune (extra [ray]); each member runs the whole program. With
--scheduler=pbt, population-based training (Jaderberg et al. 2017, arXiv 1711.09846), all members
are compared after every --perturbation_interval: each of the worst quarter continues from the
checkpoint of one of the best quarter, and its tuned settings are multiplied by 1.2 or 0.8 or, with
probability 1/4, drawn afresh. With --scheduler=random every member keeps its initial settings: this
is random search, the control.

By default the settings and ranges are those that both papers tuned in this way: the learning rate
in [5e-6, 5e-3] and the entropy cost in [5e-5, 1e-2], drawn log-uniformly (IMPALA, arXiv 1802.01561,
appendix D; PopArt, arXiv 1809.04474). The first member begins with the settings that `train` would
use. The IMPALA paper also tuned RMSProp's epsilon, and the PopArt paper both that and the gradient
norm bound: --tuned=rmsprop_epsilon:1e-7:1e-1 --tuned=gradient_clipping:10:100.

Ctrl-C or SIGTERM ends it; the same --logdir continues it, from within the interval.
"""

import importlib.util
import os
import shlex
import signal
import sys
import time
import warnings
from collections.abc import Mapping

from absl import flags

from environments import check_tasks, suite_name
from launch_programs.console import command_line
from launch_programs.console.tables import print_table, screen
from launch_programs.export import export
from launch_programs.launching import ray_backend
from launch_programs.nodes.ending import KILL
from launch_programs.run.parts import make_run_networks
from launch_programs.run.population import (
    SCHEDULERS,
    PopulationConfig,
    PopulationDirectory,
    Row,
    parse_ranges,
    parse_references,
)
from launch_programs.run.run_config import contradictions
from launch_programs.run.run_directory import default_path, make_new
from launch_programs.settings import flags as run_flags
from launch_programs.settings.flags import define_run_flags, resolve
from launch_programs.views.drawing import draw_population

FLAGS = flags.FLAGS

_TUNED = ["learning_rate:5e-6:5e-3", "entropy_cost:5e-5:1e-2"]

# Number of intervals that training is divided into by default.
_INTERVALS = 10


def define_flags() -> None:
    """Defines the flags of this program."""
    define_run_flags()
    flags.adopt_module_key_flags(run_flags)
    flags.DEFINE_string(
        "logdir",
        None,
        "Directory of the population; by default a new one under runs/. One with a population in "
        "it continues that.",
    )
    flags.DEFINE_integer("population", 8, "Members: runs that are compared with each other.")
    flags.DEFINE_integer(
        "perturbation_interval",
        None,
        "Environment frames that each member trains for between comparisons; by default a tenth of "
        "--total_environment_frames.",
    )
    flags.DEFINE_enum(
        "scheduler",
        SCHEDULERS[0],
        SCHEDULERS,
        "Population-based training (pbt), or random search, in which no member copies another "
        "(random).",
    )
    flags.DEFINE_multi_string(
        "tuned",
        _TUNED,
        "A setting to tune, NAME:LOW:HIGH, the flag once for each; drawn log-uniformly. Any of the "
        "agent's flags whose value is a float.",
    )
    flags.DEFINE_multi_string(
        "reference",
        [],
        "TASK:LOW:HIGH, the flag once for each task: the returns that count as 0 and 100 % in the "
        "score, instead of random and human play. Several tasks without scores, MinAtar's for "
        "example, need it.",
    )
    flags.DEFINE_string(
        "member_resources",
        None,
        "Resources that each member requests, such as CPU=4,GPU=1; by default all CPUs of the "
        "largest host, so that one member trains there at a time.",
    )
    ray_backend.define_address("local")
    flags.adopt_module_key_flags(ray_backend)


def _check_ray() -> None:
    """Checks that Ray Tune is installed and the cluster answers.

    Raises:
      ValueError: Ray Tune is missing, the cluster does not answer, or --member_resources is wrong.
    """
    for package in ("ray", "pyarrow"):
        if importlib.util.find_spec(package) is None:
            raise ValueError(f"tune needs the package {package}: install the extra [ray]")
    ray_backend.check_address(FLAGS.ray_address)
    _asked_resources()


def _asked_resources() -> dict[str, float] | None:
    """What each member asks of a host; None if --member_resources is not given.

    Raises:
      ValueError: --member_resources is malformed.
    """
    if FLAGS.member_resources is None:
        return None
    amounts = ray_backend.parse_amounts(FLAGS.member_resources)
    if amounts is None:
        raise ValueError(
            f"member_resources={FLAGS.member_resources!r}: must be NAME=AMOUNT[,NAME=AMOUNT...], "
            "such as CPU=4,GPU=1"
        )
    return amounts


def resolve_population() -> PopulationConfig:
    """The population that the flags ask for.

    Raises:
      ValueError: a flag is wrong.
    """
    run = resolve(None)
    if run.grow_from is not None:
        raise ValueError(f"grow_from={run.grow_from!r}: a population cannot grow from a run")
    total = run.agent.total_environment_frames
    interval = FLAGS.perturbation_interval
    return PopulationConfig(
        run=run,
        members=FLAGS.population,
        interval=-(-total // _INTERVALS) if interval is None else interval,
        scheduler=FLAGS.scheduler,
        ranges=parse_ranges(FLAGS.tuned),
        references=parse_references(FLAGS.reference),
    )


def _check_same(saved: PopulationConfig) -> None:
    """Rejects flags that would change the settings of a population that is continued.

    Raises:
      ValueError: a flag would change them.
    """
    differences = contradictions(saved.run, resolve(saved.run), changeable=())
    values = {
        "population": saved.members,
        "perturbation_interval": saved.interval,
        "scheduler": saved.scheduler,
        "tuned": saved.ranges,
        "reference": saved.references,
    }
    parsers = {"tuned": parse_ranges, "reference": parse_references}
    for name, value in values.items():
        if FLAGS[name].present:
            given = getattr(FLAGS, name)
            asked = parsers[name](given) if name in parsers else given
            if asked != value:
                differences.append(f"{name} is {value} in the population, not {asked}")
    if differences:
        raise ValueError(
            f"the population in {FLAGS.logdir} cannot be continued with other settings: "
            f"{'; '.join(differences)}; leave these flags out, or give another --logdir"
        )


def _prepare() -> tuple[PopulationConfig, PopulationDirectory, bool]:
    """The population, its directory with the settings written, and whether it is continued.

    Raises:
      ValueError: a flag is wrong, or the directory cannot be used.
      OSError: a game's ROM is missing.
    """
    _check_ray()
    saved = None
    if FLAGS.logdir is not None and PopulationDirectory(FLAGS.logdir).settings.exists():
        saved = PopulationDirectory(FLAGS.logdir).read_config()
        _check_same(saved)
    config = saved or resolve_population()
    check_tasks(config.run.task_list(), atari=config.run.atari)
    make_run_networks(config.run)  # raises if they do not fit the observations
    if saved is None and FLAGS.logdir is None:
        name = default_path(f"tune-{suite_name(config.run.task_list())}")
        directory = PopulationDirectory(make_new(name))
    else:
        directory = PopulationDirectory(FLAGS.logdir)
    directory.claim()
    if saved is None:
        directory.write_config(config)
    return config, directory, saved is not None


def _wait_for_members(directory: PopulationDirectory, members: int) -> None:
    """Waits until no member's program is left; each saves a checkpoint once Ray is gone."""
    deadline = time.monotonic() + KILL
    while any(directory.member(number).is_locked() for number in range(members)):
        if time.monotonic() > deadline:
            return
        time.sleep(0.1)


def _connect() -> dict[str, float]:
    """Joins the cluster, or starts one; returns what each member asks of a host.

    Raises:
      ConnectionError: there is no such cluster.
      ValueError: no host has the resources that a member asks for.
    """
    ray_backend.prepare()
    # A member's program shuts down cleanly once its parent process is gone; Ray would kill it.
    os.environ.setdefault("RAY_kill_child_processes_on_worker_exit", "0")
    os.environ.setdefault("RAY_worker_niceness", "0")  # not 15, which nodes would inherit
    with warnings.catch_warnings():
        # JAX warns about forks, but Ray's exec another program at once.
        warnings.filterwarnings("ignore", "os.fork", RuntimeWarning)
        ray_backend.connect(FLAGS.ray_address)
    import ray

    hosts = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    asked = _asked_resources() or {"CPU": max(host.get("CPU", 0.0) for host in hosts)}
    if not any(all(host.get(k, 0.0) >= v for k, v in asked.items()) for host in hosts):
        known = [{k: v for k, v in host.items() if k in (*asked, "CPU", "GPU")} for host in hosts]
        ray.shutdown()
        raise ValueError(
            f"member_resources={FLAGS.member_resources!r}: no host of the Ray cluster has as much; "
            f"they have {known}"
        )
    return asked


def _train(
    directory: PopulationDirectory, members: int, resources: Mapping[str, float]
) -> list[str]:
    """Trains the population until complete or interrupted; returns why members failed."""
    import ray

    from launch_programs.tuning import experiment

    # Ray Tune shuts down cleanly on SIGINT only.
    signal.signal(signal.SIGTERM, lambda number, frame: os.kill(os.getpid(), signal.SIGINT))
    try:
        return experiment.run(directory.path, resources)
    finally:
        ray.shutdown()
        _wait_for_members(directory, members)


def _at_the_end(config: PopulationConfig, rows: list[Row]) -> list[Row]:
    """The last rows of members that have been trained to the end, best first."""
    last = [row for row in rows if row.interval + 1 == config.intervals]
    return sorted(last, key=lambda row: -row.score)


def _finish(config: PopulationConfig, directory: PopulationDirectory, rows: list[Row]) -> None:
    """Prints how well a complete population plays, plots it, and exports the best policy.

    Raises:
      ValueError, OSError: the population cannot be drawn or the policy exported.
    """
    ranking = _at_the_end(config, rows)
    print_table(
        screen(sys.stdout),
        ["member", "frames", "score", *config.ranges],
        [
            [
                str(row.member),
                f"{row.frames:,}",
                f"{row.score:,.1f}",
                *(f"{value:.3g}" for value in row.tuned.values()),
            ]
            for row in ranking
        ],
        names=["member"],
    )
    draw_population(directory, config, rows)
    print(f"Plots in {directory.plots}")
    best = ranking[0].member
    run = directory.member(best)
    directory.best.unlink(missing_ok=True)
    print(f"The best policy is member {best}'s: {export(run, str(directory.best))}")
    evaluate = ["python", "-m", "launch_programs.evaluate", f"--logdir={run.path}"]
    print(f"To evaluate it: {shlex.join(evaluate)}")


def main(argv: list[str]) -> int:
    """Entry point; returns the exit code: 1 if a member failed, 2 for bad input, 130 on a stop."""
    command_line.set_up_process()
    try:
        command_line.reject_positional_arguments(argv)
        config, directory, continued = _prepare()
    except (ValueError, OSError) as error:
        command_line.fail(error)
    agent = config.run.agent
    print(
        f"{'Continuing' if continued else 'Tuning'} {', '.join(config.ranges)} of "
        f"{suite_name(config.run.task_list())}: {config.members} members, {config.scheduler}, "
        f"{config.intervals} intervals of {config.interval:,} frames\n"
        f"  network {agent.network}, {agent.total_environment_frames:,} frames each\n"
        f"  population directory {directory.path}",
        flush=True,
    )
    failures: list[str] = []
    rows = directory.read_rows()
    if len(_at_the_end(config, rows)) < config.members:
        try:
            resources = _connect()
        except (ConnectionError, ValueError) as error:
            command_line.fail(error)
        failures = _train(directory, config.members, resources)
        rows = directory.read_rows()
    if len(_at_the_end(config, rows)) == config.members:
        _finish(config, directory, rows)
        return 0
    resume = ["python", "-m", "launch_programs.tune", f"--logdir={directory.path}"]
    for cause in failures:
        print(cause)
    print(f"{'Failed' if failures else 'Interrupted'}. To continue: {shlex.join(resume)}")
    return 1 if failures else 130


if __name__ == "__main__":
    define_flags()
    command_line.run(main)
