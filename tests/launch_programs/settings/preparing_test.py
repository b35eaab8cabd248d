"""How a run is described before it starts."""

import pathlib

import pytest
from absl import flags

from launch_programs.run.run_directory import RunDirectory
from launch_programs.settings.flags import define_run_flags, resolve
from launch_programs.settings.preparing import describe
from tests.launch_programs.command_lines import given

FLAGS = flags.FLAGS


@pytest.mark.parametrize(
    ("arguments", "noted"),
    [
        (["--level_name=ALE/Pong-v5"], True),
        (["--level_name=PongNoFrameskip-v4"], False),
        (["--level_name=pong"], False),
        (["--level_name=ALE/Pong-v5", "--repeat_action_probability=0.25"], False),
        (["--level_name=ALE/Pong-v5", "--repeat_action_probability=0"], False),
    ],
)
def test_games_that_have_sticky_actions_elsewhere(
    arguments: list[str], noted: bool, tmp_path: pathlib.Path
) -> None:
    with given(define_run_flags, *arguments):
        text = describe(resolve(None), RunDirectory(tmp_path), 1, resumed=False)
    note = (
        "note: ALE/Pong-v5 is played without sticky actions; --repeat_action_probability=0.25 "
        "gives them\n"
    )
    assert (note in text) == noted
