"""Bad input as a user sees it: one line on stderr, exit code 2, nothing started or left."""

import pathlib
import shutil
import sys
from collections.abc import Callable
from types import ModuleType

import ale_py.roms
import pytest

from launch_programs import evaluate, train
from launch_programs.run.run_directory import RunDirectory
from tests.integration.programs import run
from tests.launch_programs.command_lines import one_line, refused
from tests.launch_programs.runs import make_run

Refusal = Callable[..., str]


@pytest.fixture
def refusal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Refusal:
    """Runs a program's `main` in this process; returns its one-line refusal."""

    def start(*arguments: object) -> None:
        raise AssertionError(f"a program was started: {arguments}")

    monkeypatch.setattr(train, "LauncherChild", start)
    monkeypatch.setattr(evaluate, "evaluate", start)

    def run(program: ModuleType, *arguments: str) -> str:
        return refused(program, capsys, *arguments)

    return run


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            "--level_name=pongg",
            "unknown task 'pongg': did you mean pong? known suites: atari3, atari57, minatar",
        ),
        (
            "--level_name=pong,Sequest-v5",
            "unknown task 'Sequest-v5': did you mean seaquest or minatar:seaquest? known suites: ",
        ),
        ("--level_name=", "a name is missing in ''; known suites: atari3, atari57, minatar"),
        ("--level_name=pong,pong", "every task may come once, but 'pong,pong' has pong more than"),
        ("--level_name=pong,catch_x1", "the tasks of a run must be of one domain, but "),
        ("--num_actors=0", "num_actors=0: must be at least 1"),
        ("--num_actors=-3", "num_actors=-3: must be at least 1"),
        ("--environments_per_actor=0", "environments_per_actor=0: must be at least 1"),
        (
            "--num_actors=2 --environments_per_actor=4",
            "num_actors=2 times environments_per_actor=4 must be a multiple of the 3 tasks",
        ),
        ("--unroll_length=0", "unroll_length=0: must be a whole number of at least 1"),
        ("--batch_size=0", "batch_size=0: must be a whole number of at least 1"),
        ("--batch_size=-32", "batch_size=-32: must be a whole number of at least 1"),
        ("--queue_size=0", "queue_size=0: must be a whole number of at least 1, or left out"),
        ("--minibatches=5", "minibatches=5: must be a whole number that divides batch_size=32"),
        ("--ratio_clip=0", "ratio_clip=0.0: must be finite and more than 0, or left out"),
        ("--total_environment_frames=0", "total_environment_frames=0: must be "),
        ("--total_environment_frames=-1", "total_environment_frames=-1: must be "),
        ("--seed=-1", "seed=-1: must be at least 0"),
        ("--evaluation_interval=-1", "evaluation_interval=-1: must be at least 0"),
        ("--evaluation_max_frames=0", "evaluation_max_frames=0: must be at least 1, or left out"),
        (
            "--checkpoint_interval=0",
            "checkpoint_interval=0.0: must be more than 0 seconds, and finite",
        ),
        ("--log_interval=nan", "log_interval=nan: must be more than 0 seconds, and finite"),
        ("--discounting=1.5", "discounting=1.5: must be in [0, 1]"),
        ("--discounting=nan", "discounting=nan: must be in [0, 1]"),
        ("--learning_rate=0", "learning_rate=0.0: must be "),
        ("--gradient_clipping=-1", "gradient_clipping=-1.0: must be "),
        ("--entropy_cost=-0.01", "entropy_cost=-0.01: must be "),
        ("--popart_step_size=0", "popart_step_size=0.0: must be in (0, 1]"),
        ("--popart_scale_max=1e-9", "popart_scale_max=1e-09: must be "),
        ("--repeat_action_probability=1", "repeat_action_probability is 1.0; it must be in [0, 1)"),
        ("--noop_max=-1", "noop_max is -1; it must be in [0, 1000]"),
        ("--max_frames_per_episode=0", "max_frames_per_episode is 0; it must be at least 1"),
        ("--network=resnet", "network='resnet': must be one of "),
        ("--subnets=0", "subnets=0: must be a whole number of at least 1, or left out"),
        ("--subnets=2", "subnets=2: network='shallow' has no such option; attentive, self_att"),
        ("--hidden_size=0", "hidden_size=0: must be a whole number of at least 1"),
        ("--preset=amt --level_name=toy --task_input", "task_input=True: network='attentive' has"),
        ("--grow_from=nowhere", "grow_from='nowhere': nowhere is not a run directory: it has no "),
        (
            "--level_name=procgen:coinrum",
            "unknown task 'procgen:coinrum': did you mean procgen:coinrun",
        ),
        ("--level_name=doom:basik", "unknown task 'doom:basik': did you mean doom:basic"),
        ("--level_name=procgen4,doom8", "the tasks of a run must be of one domain, but "),
        ("--num_levels=-1", "num_levels is -1; it must be in [0, 2147483647]"),
        ("--start_level=-1", "start_level is -1; it must be in [0, 2147483447]"),
        ("--level_name=minatar:pong", "unknown task 'minatar:pong': "),
        ("--level_name=minatar,breakout", "the tasks of a run must be of one domain, but "),
        (
            "--level_name=minatar --network=shallow",
            "network='shallow': needs stacked images [S, H, W]",
        ),
        ("--level_name=pong --network=minatar", "network='minatar': needs boards [H, W, C]"),
        ("--level_name=toy --network=shallow", "network='shallow': needs stacked images [S, H, W]"),
        (
            "--level_name=pong,breakout --num_actors=1 --environments_per_actor=2 "
            "--action_set=minimal",
            "action_set is 'minimal', but the sets of pong (",
        ),
        (
            "--level_name=gym:CarPole-v1",
            "task 'gym:CarPole-v1': Environment `CarPole` doesn't exist. Did you mean: `CartPole`?",
        ),
        ("--level_name=gym:Pendulum-v1", "task 'gym:Pendulum-v1': actions must be discrete, the "),
        (
            "--level_name=gym:CartPole-v1,gym:Acrobot-v1",
            "the tasks of a run must have equal observations and actions: gym:CartPole-v1 has ",
        ),
        (
            "--level_name=gym:CartPole-v1 --network=shallow",
            "network='shallow': needs stacked images [S, H, W]",
        ),
        (
            "--level_name=dm_env:no_such_module:make",
            "task 'dm_env:no_such_module:make': no_such_module cannot be imported: No module ",
        ),
        ("pong", "unexpected argument 'pong': settings are given as --name=value"),
        (
            "--launch_type=ray --ray_resources=lerner:GPU=1",
            "ray_resources='lerner:GPU=1': must be GROUP:NAME=AMOUNT[,NAME=AMOUNT...], such as ",
        ),
        (
            "--launch_type=ray --ray_address=localhost:1",
            "ray_address='localhost:1': [Errno 111] Connection refused; it must be auto, local, or",
        ),
        ("--launch_type=ray --ray_address=ray://head:x", "ray_address='ray://head:x': invalid "),
    ],
)
def test_training_refuses(
    flags: str, message: str, refusal: Refusal, tmp_path: pathlib.Path
) -> None:
    logdir = tmp_path / "run"
    assert refusal(train, f"--logdir={logdir}", *flags.split(" ")).startswith(message)
    assert not logdir.exists()


def test_a_refused_run_without_logdir_leaves_no_default_one(
    refusal: Refusal, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert refusal(train, "--num_actors=0") == "num_actors=0: must be at least 1"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("path", ["file", "file/below"])
def test_a_logdir_that_cannot_be_written_to(
    path: str, refusal: Refusal, tmp_path: pathlib.Path
) -> None:
    """At or below a file, and in /proc: tests may run as root, which ignores permissions."""
    (tmp_path / "file").write_text("mine")
    message = refusal(train, "--level_name=toy", f"--logdir={tmp_path / path}")
    assert message.startswith(f"logdir='{tmp_path / path}': cannot be written to: ")
    assert (tmp_path / "file").read_text() == "mine"
    message = refusal(train, "--level_name=toy", "--logdir=/proc/run")
    assert message.startswith("logdir='/proc/run': cannot be written to: ")


def test_a_directory_with_something_else_in_it(refusal: Refusal, tmp_path: pathlib.Path) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    message = refusal(train, "--level_name=toy", f"--logdir={tmp_path}")
    assert message == f"logdir='{tmp_path}': is neither empty nor a run directory; give another"
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.fixture(scope="module")
def toy_run(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    return make_run(tmp_path_factory.mktemp("runs") / "toy", "toy")


def contents(directory: RunDirectory) -> dict[str, float]:
    return {str(p): p.stat().st_mtime for p in directory.path.rglob("*")}


@pytest.mark.parametrize(
    ("flags", "differences"),
    [
        ("--learning_rate=0.5", "learning_rate is 0.001 in the run, not 0.5"),
        ("--nopopart", "popart is True in the run, not False"),
        (
            "--seed=3 --unroll_length=10",
            "unroll_length is 20 in the run, not 10; seed is 1 in the run, not 3",
        ),
        (
            "--level_name=catch_x100,catch_x1,catch_x10000",
            "tasks is ['catch_x1', 'catch_x100', 'catch_x10000'] in the run, "
            "not ['catch_x100', 'catch_x1', 'catch_x10000']",
        ),
    ],
)
def test_a_run_is_not_resumed_with_other_settings(
    flags: str, differences: str, refusal: Refusal, toy_run: RunDirectory
) -> None:
    before = contents(toy_run)
    message = refusal(train, f"--logdir={toy_run.path}", *flags.split(" "))
    assert message == (
        f"the run in {toy_run.path} cannot be resumed with other settings: {differences}; "
        "leave these flags out, or give another --logdir"
    )
    assert contents(toy_run) == before


def test_a_broken_configuration(refusal: Refusal, tmp_path: pathlib.Path) -> None:
    (tmp_path / "config.json").write_text('{"tasks": ["pong"]')
    for program in (train, evaluate):
        message = refusal(program, f"--logdir={tmp_path}")
        assert message.startswith(f"{tmp_path}/config.json is not JSON: ")
    (tmp_path / "config.json").write_text('{"tasks": ["pong"]}')
    for program in (train, evaluate):
        message = refusal(program, f"--logdir={tmp_path}")
        assert message.startswith(f"{tmp_path}/config.json: not a configuration of this version: ")
    assert [p.name for p in tmp_path.iterdir()] == ["config.json"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--level_name=pong", "level_name='pong': the run was not trained on pong; its tasks are "),
        ("--level_name=catch_x10", "unknown task 'catch_x10': did you mean catch_x1"),
        ("--level_name=", "a name is missing in ''; known suites: "),
        (
            "--level_name=gym:CartPole-v1",
            "level_name='gym:CartPole-v1': the run was not trained on",
        ),
        ("catch_x1", "unexpected argument 'catch_x1': settings are given as --name=value"),
    ],
)
def test_evaluation_refuses(
    flags: str, message: str, refusal: Refusal, toy_run: RunDirectory
) -> None:
    before = contents(toy_run)
    assert refusal(evaluate, f"--logdir={toy_run.path}", flags).startswith(message)
    assert contents(toy_run) == before


def test_evaluation_needs_a_run(refusal: Refusal, tmp_path: pathlib.Path) -> None:
    for path in (tmp_path, tmp_path / "nowhere"):
        message = refusal(evaluate, f"--logdir={path}")
        assert message == f"{path} is not a run directory: it has no config.json"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("program", [train, evaluate])
def test_a_missing_rom(
    program: ModuleType,
    refusal: Refusal,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """ale-py looks for ROMs in ALE_ROMS_DIR if that is set."""
    logdir = tmp_path / "run"
    flags = [f"--logdir={logdir}"]
    if program is train:
        flags += ["--level_name=seaquest,pong", "--num_actors=1", "--environments_per_actor=2"]
    else:
        make_run(logdir, "seaquest,pong")
    roms = tmp_path / "roms"
    monkeypatch.setenv("ALE_ROMS_DIR", str(roms))
    assert f"ROM directory {roms} doesn't exist" in refusal(program, *flags)
    roms.mkdir()
    shutil.copy(pathlib.Path(ale_py.roms.__file__).parent / "seaquest.bin", roms)
    assert str(roms / "pong.bin") in refusal(program, *flags)
    (roms / "pong.bin").write_bytes(b"not a game")
    assert "The hash of pong.bin does not match" in refusal(program, *flags)
    assert logdir.exists() == (program is evaluate)


@pytest.mark.parametrize(
    ("program", "flags", "message"),
    [
        ("train", "--level_name=ponk", "unknown task 'ponk': did you mean pong"),
        ("evaluate", "--level=x", "Unknown command line flag 'level'. Did you mean: level_name ?"),
    ],
)
def test_programs_refuse_by_themselves(
    program: str, flags: str, message: str, tmp_path: pathlib.Path
) -> None:
    """Through the real command line, including an error that absl finds in parsing it."""
    logdir = tmp_path / "run"
    result = run(program, f"--logdir={logdir}", flags)
    assert result.returncode == 2
    line = one_line(result.stdout, result.stderr)
    assert line.startswith(message)
    assert not logdir.exists()


def test_a_traceback_only_on_demand(
    tmp_path: pathlib.Path, refusal: Refusal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error in a user's module; the traceback comes through the real command line."""
    (tmp_path / "own.py").write_text("def make(seed):\n    raise RuntimeError('no display')\n")
    flags = (f"--logdir={tmp_path / 'run'}", "--level_name=dm_env:own:make")
    message = "task 'dm_env:own:make': RuntimeError: no display"
    monkeypatch.syspath_prepend(tmp_path)
    assert refusal(train, *flags) == f"{message} (--debug shows where)"
    result = run("train", *flags, "--debug", path=tmp_path)
    assert result.returncode == 2
    assert result.stderr.startswith("Traceback (most recent call last):\n")
    assert f'File "{tmp_path}/own.py", line 2, in make' in result.stderr
    assert result.stderr.splitlines()[-1] == f"error: {message}"
    assert not (tmp_path / "run").exists()


def test_wandb_without_its_package(
    refusal: Refusal, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)  # how Python marks a failed import
    message = refusal(train, "--level_name=toy", "--wandb", f"--logdir={tmp_path / 'run'}")
    assert message == "wandb=True: needs the package wandb: install the extra [wandb]"
    assert list(tmp_path.iterdir()) == []


def test_a_batch_that_the_devices_do_not_divide(
    tmp_path: pathlib.Path, refusal: Refusal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jax.local_device_count", lambda: 4)
    logdir = tmp_path / "run"
    message = refusal(
        train,
        *("--level_name=catch_x1", f"--logdir={logdir}", "--num_actors=1"),
        *("--environments_per_actor=6", "--batch_size=6"),
    )
    assert message == "batch_size=6: must be a multiple of the 4 local devices"
    assert not logdir.exists()
