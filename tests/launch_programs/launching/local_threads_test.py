"""Why a program of threads has failed. Real programs: tests/integration/failures_test.py."""

import pytest

from launch_programs.launching.local_threads import _raise_failure
from launch_programs.launching.supervisor import ProgramFailed
from launch_programs.nodes.ending import GivenUp


def test_nodes_without_an_error_have_not_failed() -> None:
    _raise_failure([("coordinator", None), ("learner", None)])


def test_the_first_error_is_the_cause() -> None:
    errors = [("coordinator", None), ("learner", KeyError("w")), ("actor", OSError("no learner"))]
    with pytest.raises(ProgramFailed, match="^launcher: learner: KeyError: 'w'$") as failure:
        _raise_failure(errors)
    assert "KeyError: 'w'" in failure.value.output


def test_what_made_the_program_give_up_comes_before_errors_that_follow_from_it() -> None:
    errors = [("learner", KeyError("w")), ("coordinator", GivenUp("actor/0: no simulator"))]
    with pytest.raises(ProgramFailed, match="^launcher: actor/0: no simulator$"):
        _raise_failure(errors)
