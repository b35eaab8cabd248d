"""How soon programs respond, and where they cannot run."""

import subprocess
import sys

from tests.missing_packages import ONLY_JAX_AND_HAIKU


def test_programs_answer_without_tensorflow() -> None:
    """Importing TensorFlow takes four seconds, and only nodes need Reverb.

    Programs check flags, make tasks and networks, and play policies without them.
    """
    program = """
import importlib, sys
from absl import flags
for name in (
    "evaluate", "export", "plot", "report", "runs", "run_node", "sensitivity", "cluster_template",
    "train", "launching.launcher", "launching.local_processes",
):
    importlib.import_module(f"launch_programs.{name}")
from launch_programs import evaluate, train
from launch_programs.run.parts import make_run_networks
from launch_programs.run.run_directory import RunDirectory
from launch_programs.settings.flags import resolve
train.define_flags()
flags.FLAGS(["train", "--level_name=catch_x1"])
config = resolve(None)
assert make_run_networks(config).num_params > 0
print(sorted({"tensorflow", "reverb", "rlax"} & set(sys.modules)))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.stdout == "[]\n", done.stderr


def test_the_core_alone_has_no_programs() -> None:
    started = "sys.argv = ['-m']\nimport launch_programs"  # as with `python -m launch_programs.X`
    done = subprocess.run(
        [sys.executable, "-c", ONLY_JAX_AND_HAIKU + started],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr == (
        "error: launch_programs needs the package acme: install the extra [stack] with uv, "
        f"on Python 3.10 (this is 3.{sys.version_info.minor}); docs/install.md says how\n"
    )
