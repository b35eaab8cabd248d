"""The Launchpad program: its nodes, and which nodes each of them talks to.

    group         node                                   talks to
    coordinator   Coordinator                            -
    learner       Reverb queue + LearnerNode             queues, coordinator
    queue         Reverb queues, with --num_queues       -
    actor         ActorNode, one per actor               a queue, learner, coordinator
    evaluator     EvaluatorNode                          learner, coordinator

The queue shares the learner's process: the learner is its only reader, and reading within a process
avoids copies over the network. With `--num_queues` the queues have processes of their own, and
actors are assigned to them round-robin: for other hosts, or for more data than one server can take.

A launcher binds the nodes' addresses, pickles the nodes and starts them on this machine
(local_processes.py) or on a cluster (ray_launch.py, vertex.py); or a user starts each node by hand
(run_node.py). The code that nodes run therefore lives in importable packages.
"""

import launchpad as lp
import reverb

from launch_programs.nodes.coordinator import Coordinator
from launch_programs.nodes.nodes import ActorNode, EvaluatorNode, LearnerNode
from launch_programs.run.parts import make_builder
from launch_programs.run.run_config import RunConfig
from launch_programs.run.run_directory import RunDirectory

# If a remote call takes longer, the peer is gone. The time also covers the peer's start.
_CLIENT = {"call_timeout": 120.0}


class _QueueNode(lp.ReverbNode):
    """A Reverb node that stops its server with the program, which ends blocked reads and writes."""

    def run(self) -> None:
        super().run()
        self._server.stop()


def _make_tables(config: RunConfig) -> list[reverb.Table]:
    return make_builder(config).make_replay_tables()


def make_program(config: RunConfig, directory: RunDirectory) -> lp.Program:
    """Builds the program without starting it."""
    path = str(directory.path.absolute())
    program = lp.Program("popart_impala")
    with program.group("coordinator"):
        coordinator = program.add_node(
            lp.CourierNode(Coordinator, config, path, courier_client_kwargs=_CLIENT)
        )
    queue_nodes = [
        _QueueNode(priority_tables_fn=lambda: _make_tables(config))
        for _ in range(max(1, config.num_queues))
    ]
    queues = [node.create_handle() for node in queue_nodes]
    learner_node = lp.CourierNode(
        LearnerNode,
        config,
        directory.checkpoints.absolute(),
        queues,
        coordinator,
        courier_client_kwargs=_CLIENT,
    )
    learner = learner_node.create_handle()
    if config.num_queues == 0:
        with program.group("learner"):
            program.add_node(lp.MultiThreadingColocation([*queue_nodes, learner_node]))
    else:
        with program.group("learner"):
            program.add_node(learner_node)
        with program.group("queue"):
            for node in queue_nodes:
                program.add_node(node)
    with program.group("actor"):
        for i in range(config.num_actors):
            queue = queues[i % len(queues)]
            program.add_node(lp.PyClassNode(ActorNode, config, i, queue, learner, coordinator))
    if config.evaluation_interval:
        with program.group("evaluator"):
            program.add_node(lp.PyClassNode(EvaluatorNode, config, learner, coordinator))
    return program


def named_nodes(program: lp.Program) -> dict[str, lp.PyNode]:
    """The nodes by the names that users see, group and number, such as "actor/3"."""
    return {
        f"{group}/{i}": node
        for group, nodes in program.groups.items()
        for i, node in enumerate(nodes)
    }
