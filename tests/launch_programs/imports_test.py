"""How soon programs answer: importing TensorFlow alone takes four seconds."""

import subprocess
import sys


def test_programs_answer_without_tensorflow() -> None:
    """Flags are checked, tasks and networks made, policies played; only nodes need Reverb."""
    program = """
import importlib, sys
from absl import flags
for name in (
    "evaluate", "export", "plot", "report", "runs", "run_node", "sensitivity", "cluster_template",
    "train", "launching.launcher", "launching.local_launch",
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
