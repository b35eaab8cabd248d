"""Vertex AI without XManager; contrib/vertex/vertex_test.py has the tests with it."""

import dataclasses
import sys

import launchpad as lp
import pytest

from launch_programs.launching import vertex
from tests.launch_programs.runs import CONFIG


def test_a_node_with_two_ports_is_refused() -> None:
    program = lp.Program("two_ports")
    with program.group("learner"):
        nodes = [lp.CourierNode(object) for _ in range(2)]
        program.add_node(lp.MultiThreadingColocation(nodes))
    with pytest.raises(ValueError, match="one port, and one of the group 'learner' needs more"):
        vertex.launch(program, {})


def test_missing_xmanager_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "xmanager", None)
    with pytest.raises(ValueError, match="run `make setup-vertex`"):
        vertex.check(dataclasses.replace(CONFIG, num_queues=1), "/gcs/bucket/run")
