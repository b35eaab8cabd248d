"""Every command in README and docs/ works, and so does every block of Python.

`HOW` says how each command is tried. A command that matches none of its lines fails the test, so a
new command in the documentation needs a line here.
"""

import ast
import dataclasses
import os
import pathlib
import re
import shlex
import subprocess

import pytest

from environments import check_tasks
from launch_programs import tune
from launch_programs.run.parts import make_run_networks
from launch_programs.settings.flags import resolve
from tests.compiling import unoptimised
from tests.docs.commands import DOCUMENTS, ROOT, Snippet, programs, snippets
from tests.launch_programs.command_lines import given
from tests.working_copy import make_working_copy, needs_repository

SNIPPETS = [snippet for document in DOCUMENTS for snippet in snippets(document)]


@dataclasses.dataclass(frozen=True)
class Run:
    """The command is run, and must succeed."""

    flags: str = ""  # appended, so that absl lets them win; for `make`, added to ARGS
    replaced: tuple[tuple[str, str], ...] = ()
    before: str = ""  # a shell command that prepares it
    mostly_compiles: bool = False  # so it runs without optimisations (tests/compiling.py)
    exit_code: int = 0
    says: str = ""  # what it must print


@dataclasses.dataclass(frozen=True)
class InCI:
    """Continuous integration runs the command."""


@dataclasses.dataclass(frozen=True)
class ByAnotherTest:
    """Another test runs the program."""

    by: str  # tests/PATH::NAME


@dataclasses.dataclass(frozen=True)
class Prepared:
    """The command's run is prepared, with its configuration and its tasks, but not started.

    Other commands start the same program.
    """


@dataclasses.dataclass(frozen=True)
class Parsed:
    """Another command runs the same program; only the flags of this one are parsed."""


@dataclasses.dataclass(frozen=True)
class NotHere:
    """The command needs something that a test lacks; it is checked as far as possible."""

    why: str


Way = Run | InCI | ByAnotherTest | Prepared | Parsed | NotHere

# Enough for a few updates and an evaluation, with the smallest batches.
_TOY = "--total_environment_frames=3000 --num_actors=1 --environments_per_actor=3 --batch_size=3"
_FAST = f"{_TOY} --unroll_length=5 --test_num_episodes=1 --evaluation_interval=0 --log_interval=0.5"
_THREADS = "--launch_type=local_mt"  # one process, which takes half the time to start
_GAMES = f"{_FAST} --total_environment_frames=600 --max_frames_per_episode=400"
_ONE = f"{_FAST} {_THREADS} --environments_per_actor=2"

_EVERY_CHECKPOINT = "tests/launch_programs/evaluate_test.py::test_every_checkpoint"

# The first line whose pattern is found in a command says how it is tried.
HOW: list[tuple[str, Way]] = [
    # Set-up, tests.
    (r"^make (setup|test|test-core|test-slow|test-browser|lint|docs)$", InCI()),
    (
        r"^make (setup-cuda|setup-vertex|test-by-hand)$",
        NotHere("gigabytes, or minutes"),
    ),
    # `make test-core` does with uv what these do with pip; Docker is not available.
    (r"^pip install ", NotHere("pip installs into the environment that the reader has")),
    (r"^docker ", NotHere("needs Docker")),
    (r"^make test(-slow)? ARGS=", Run("--collect-only --quiet")),
    (r"pre-commit install$", Run()),
    # Training.
    (r"^make train$", Run(f"{_GAMES} --environments_per_actor=3")),
    (r"^make train (SUITE|FRAMES|ARGS)=", Prepared()),
    (r"--preset=popart_impala_multitask --level_name=atari57", Prepared()),
    (r"--keep_interval=1000000 --logdir=runs/kept", Prepared()),
    (r"--preset=amt --subnets=3", Prepared()),
    (
        r"--network=progressive --level_name=pong",
        Run(f"{_ONE} --level_name=catch_lsr --total_environment_frames=600", mostly_compiles=True),
    ),
    (
        r"--grow_from=runs/first",
        Run(
            f"{_ONE} --level_name=catch_rsl --total_environment_frames=600",
            mostly_compiles=True,
            says="grown from",
        ),
    ),
    (
        r"\.tune --(level_name|logdir)",
        ByAnotherTest("tests/launch_programs/tune_test.py::test_a_population_is_trained"),
    ),
    (r"\.sensitivity --logdir=runs/second", Run("--steps=20")),
    (
        r"--level_name=gym:CartPole-v1 ",
        ByAnotherTest("tests/integration/own_environments_test.py::test_cartpole_is_learned"),
    ),
    (
        r"--level_name=pong,seaquest --logdir=runs/mine$",
        # Long enough for an episode of each task, which `plot` draws.
        Run(
            f"{_GAMES} {_THREADS} --use_lstm --environments_per_actor=2 "
            "--total_environment_frames=2400",
            says="network shallow with LSTM, ",
        ),
    ),
    (
        r"\.train --logdir=runs/mine$",
        Run(
            f"{_THREADS} --total_environment_frames=2600 --test_num_episodes=0",
            says="Resuming: pong",
        ),
    ),
    (r"--hidden_size=64 --entropy_cost=0.001 --logdir=runs/toy64", Prepared()),
    (r"--level_name=minatar .*--logdir=runs/minatar$", Prepared()),
    (r"--level_name=dm_env:examples.treasure_dm_env:make .*--logdir", Run(_ONE)),
    (r"--level_name=gym:examples.treasure_gymnasium:Treasure-v0", Prepared()),
    (r"--level_name=dm_env:.*--launch_type=local_mt", Prepared()),
    (
        r"--level_name=procgen4",
        Run(f"{_ONE} --level_name=procgen:coinrun --evaluation_max_frames=400", says="unseen"),
    ),
    (
        r"--level_name=doom8",
        Run(f"{_ONE} --level_name=doom:basic --evaluation_max_frames=400", says="doom:basic"),
    ),
    (
        r"--network=residual --level_name=toy",
        Run(
            f"{_FAST} {_THREADS}",
            before="cp examples/own_network.py agents/popart_impala/networks/residual.py && "
            "sed -i -e '/^from examples/d' -e '/^from environments/d' "
            "-e '/^from agents.popart_impala.networks.registry/d' "
            "-e '/^from agents.popart_impala.networks import/c\\from "
            "agents.popart_impala.networks.types import TorsoOutput' "
            "-e '/^from agents.popart_impala import Config/c\\from "
            "agents.popart_impala.network_config import NetworkConfig' -e '/^# From here/,$d' "
            "agents/popart_impala/networks/residual.py && "
            "sed -i -e 's/^NETWORKS.*/&\\n    \"residual\": Entry(with_torso(ResidualTorso)),/' "
            "-e '/networks.shallow import/i\\from agents.popart_impala.networks.residual import "
            "ResidualTorso' agents/popart_impala/networks/registry.py",
            says="network residual, ",
        ),
    ),
    # On several hosts.
    (
        r"--launch_type=ray .*--level_name=atari57",
        ByAnotherTest(
            "tests/integration/ray_hosts_test.py::test_learner_queue_and_actors_on_three_hosts"
        ),
    ),
    (r"^ray start", Run(replaced=(("ray start", ".venv/bin/ray start --help"),))),
    (
        r"cluster_template --logdir=/shared/runs/mine --hosts=host1,host2 ",
        Run("--logdir=runs/shared", says="cluster file runs/shared/cluster.json"),
    ),
    (
        r"cluster_template --logdir=runs/big --hosts=host1,host2 ",
        Run(says="cluster file runs/big/cluster.json"),
    ),
    (
        r"run_node --cluster=cluster.json --job_name=actor --task=3",
        # Alone it would wait for a coordinator; tests/integration/by_hand_test.py has one.
        Run("--task=99", before="cp runs/big/cluster.json .", exit_code=2, says="error: "),
    ),
    (
        r"--launch_type=vertex_ai",
        NotHere("needs an account; contrib/vertex/vertex_test.py has stand-ins for it"),
    ),
    # After training.
    (r"\.evaluate --logdir=runs/atari57", Parsed()),
    (r"\.evaluate --logdir=runs/mine --repeat_action_probability", Parsed()),
    (r"\.evaluate --logdir=runs/mine .*--play_as=pong", Run("--test_num_episodes=1")),
    (r"\.evaluate --logdir=runs/kept", ByAnotherTest(_EVERY_CHECKPOINT)),
    (r"\.evaluate --logdir=", Run("--test_num_episodes=1")),
    (r"\.export --logdir=runs/mine", Run(before="rm -f mine.policy.npz")),
    (r"\.plot runs/atari57$", Parsed()),
    (r"\.plot runs/mine$", Run(says="runs/mine/plots/returns.svg")),
    (
        r"\.plot runs/popart-\* ",
        Run(
            before="cp -r runs/mine runs/popart-1 && cp -r runs/mine runs/nopopart-1",
            says="figures/returns.png",
        ),
    ),
    (r"\.report runs/mine$", Run(says="runs/mine/report.html")),
    (r"\.runs$", Run(says="runs/mine")),
    (
        r"tensorboard --logdir=runs$",
        # Without --inspect it would serve until it is stopped.
        Run(replaced=(("--logdir=runs", "--inspect --logdir=runs/mine"),), says="charts/SPS"),
    ),
    (
        r"--wandb --logdir=runs/wandb",
        ByAnotherTest("tests/integration/wandb_test.py::test_a_run_is_mirrored_to_its_end"),
    ),
    (r"\.export --logdir=runs/toy64", Parsed()),
    # Examples.
    (r"examples/play_exported\.py$", Run("examples/toy.policy.npz 2")),
    (r"examples\.in_process$", Run("toy 3")),
    (r"examples\.in_process gym:CartPole-v1$", Run("1")),
    (r"examples\.play_exported$", Run("examples/toy.policy.npz 2")),
    (r"examples\.play_exported mine.policy.npz 3", Run()),
    (
        r"examples\.film_exported",
        ByAnotherTest("tests/examples/film_exported_test.py::test_it_films_all_tasks_side_by_side"),
    ),
    (r"examples\.single_process$", Run("20", says=" episodes, mean return ")),
    (r"examples\.own_network$", Run("20")),
    # Benchmarks.
    (
        r"benchmarks\.throughput",
        ByAnotherTest(
            "tests/benchmarks/benchmarks_test.py::test_every_stage_and_the_whole_program"
        ),
    ),
    (
        r"benchmarks\.data_plane",
        ByAnotherTest("tests/benchmarks/benchmarks_test.py::test_two_queues_carry_unrolls"),
    ),
    (
        r"benchmarks\.networks --json",
        Run(
            "--level_name=toy --networks=mlp,attentive:2 --seconds=0.05 --batch_size=1 "
            "--unroll_length=2 --environments_per_actor=3",
            mostly_compiles=True,
            says="attentive",
        ),
    ),
    (r"benchmarks\.networks", Parsed()),
    (r"benchmarks\.learning", ByAnotherTest("tests/benchmarks/learning_test.py::test_the_program")),
    (r"benchmarks\.atari --report_only", Run("--experiment=pong --output=runs/results")),
    (
        r"benchmarks\.atari",
        ByAnotherTest("tests/benchmarks/atari_test.py::test_a_run_is_stopped_killed_and_finished"),
    ),
    (r"benchmarks\.soak", ByAnotherTest("tests/benchmarks/soak_test.py::test_a_short_soak")),
]

# What a block of Python needs from the reader, keyed by one of its lines.
PRELUDES = {
    'policy = load_policy("mine.policy.npz")': (
        "import numpy as np\nobservation, reward = np.zeros((4, 84, 84), np.uint8), 0.0\n"
    ),
}


def how(command: str) -> Way | None:
    """How a command is tried, or None if no line matches it."""
    return next((way for pattern, way in HOW if re.search(pattern, command)), None)


def is_command(snippet: Snippet) -> bool:
    return snippet.language == "sh"


def name(snippet: Snippet) -> str:
    return f"{snippet.document}:{snippet.line}"


def test_commands_are_found() -> None:
    found = [snippet.text for snippet in snippets("README.md") if is_command(snippet)]
    assert "make setup" in found  # its comment is cut off
    assert len(found) >= 15


@pytest.mark.parametrize("snippet", [s for s in SNIPPETS if is_command(s)], ids=name)
def test_it_is_known_how_a_command_is_tried(snippet: Snippet) -> None:
    way = how(snippet.text)
    assert way is not None, f"HOW has no line for {snippet.text!r}"
    if isinstance(way, InCI):
        assert snippet.text in (ROOT / ".ci" / "run").read_text().splitlines()
    elif isinstance(way, ByAnotherTest):
        path, function = way.by.split("::")
        tree = ast.parse((ROOT / path).read_text())
        assert function in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_every_way_is_of_a_command() -> None:
    commands = [snippet.text for snippet in SNIPPETS if is_command(snippet)]
    assert [p for p, _ in HOW if not any(re.search(p, command) for command in commands)] == []


@pytest.mark.parametrize(
    "snippet", [s for s in SNIPPETS if s.language != "python" and "python" in s.text], ids=name
)
def test_flags_are_those_of_their_programs(snippet: Snippet) -> None:
    """Includes commands that cannot run here."""
    for program, flags in programs(snippet.text):
        define_flags = getattr(program, "define_flags", lambda: None)
        with given(define_flags, *(flag for flag in flags if "$" not in flag)):
            pass


def run(
    command: str, copy: pathlib.Path, mostly_compiles: bool = False
) -> subprocess.CompletedProcess[str]:
    """Runs a shell command in the copy, as from a shell whose Python is that of .venv."""
    return subprocess.run(
        ["bash", "-c", command],
        cwd=copy,
        # Set-up would make the copy's own .venv; `make test` passes its ARGS on in MAKEFLAGS.
        env={**os.environ, "PYTHONPATH": "", "BOOTSTRAP_PYTHON": "true", "MAKEFLAGS": ""}
        | {"PATH": f"{copy}/.venv/bin:{os.environ['PATH']}"}
        | (unoptimised() if mostly_compiles else {}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=580,
    )


@pytest.mark.parametrize(
    "snippet",
    [s for s in SNIPPETS if is_command(s) and isinstance(how(s.text), Prepared)],
    ids=name,
)
def test_a_run_can_be_prepared(snippet: Snippet) -> None:
    text = snippet.text
    if text.startswith("make "):
        text = run(f"{text} --dry-run --no-print-directory", ROOT).stdout
    ((program, flags),) = programs(text)
    with given(program.define_flags, *flags):
        config = resolve(None)
        check_tasks(config.task_list(), atari=config.atari)
        assert make_run_networks(config).num_params > 0


@pytest.mark.parametrize(
    "snippet", [s for s in SNIPPETS if is_command(s) and ".tune --level_name" in s.text], ids=name
)
def test_a_population_can_be_prepared(snippet: Snippet) -> None:
    ((program, flags),) = programs(snippet.text)
    with given(program.define_flags, *flags):
        assert tune.resolve_population().intervals > 1


@pytest.mark.parametrize("snippet", [s for s in SNIPPETS if s.language == "bash"], ids=name)
def test_scripts_are_well_formed(snippet: Snippet) -> None:
    done = subprocess.run(["bash", "-n"], input=snippet.text, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A copy of the project in which all commands run, one after the other."""
    return make_working_copy(tmp_path_factory.mktemp("documentation") / "project")


def shortened(command: str, way: Run) -> str:
    """The command as it is run here."""
    for old, new in way.replaced:
        assert old in command
        command = command.replace(old, new)
    if not command.startswith("make ") or not way.flags:
        return f"{command} {way.flags}"
    words = shlex.split(command)
    given_flags = [word.removeprefix("ARGS=") for word in words if word.startswith("ARGS=")]
    others = [word for word in words if not word.startswith("ARGS=")]
    return shlex.join([*others, f"ARGS={' '.join([*given_flags, way.flags])}"])


def is_run(snippet: Snippet) -> bool:
    return snippet.language == "python" or (
        is_command(snippet) and isinstance(how(snippet.text), Run)
    )


def to_run() -> list[Snippet]:
    """Snippets in the documents' order; those that occur several times run once."""
    first: dict[str, Snippet] = {}
    for snippet in SNIPPETS:
        if is_run(snippet):
            first.setdefault(snippet.text, snippet)
    return list(first.values())


@pytest.mark.slow
@pytest.mark.timeout(600)  # `run` allows a command nearly as much
@needs_repository
@pytest.mark.parametrize("snippet", to_run(), ids=name)
def test_it_works(snippet: Snippet, copy: pathlib.Path) -> None:
    if snippet.language == "python":
        preludes = [p for line, p in PRELUDES.items() if line in snippet.text]
        code = "".join(preludes) + snippet.text
        done = run(f"python -c {shlex.quote(code)}", copy)
        assert done.returncode == 0, done.stdout
        return
    way = how(snippet.text)
    assert isinstance(way, Run)
    if way.before:
        prepared = run(way.before, copy)
        assert prepared.returncode == 0, prepared.stdout
    command = shortened(snippet.text, way)
    done = run(command, copy, way.mostly_compiles)
    assert done.returncode == way.exit_code, f"{command}\n{done.stdout}"
    assert way.says in done.stdout, f"{command}\n{done.stdout}"
