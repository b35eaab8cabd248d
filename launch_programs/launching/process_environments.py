"""The environment variables of the nodes' processes.

Libraries read them when they are loaded, or first used: they must be there before. This module
loads none, so that a process can look at them first.
"""

import os

from launch_programs.nodes.groups import GROUPS

# The C library's heap for the learner: one, that grows and is kept. By default every large array of
# an update is fresh memory from the system, whose pages are made one by one when they are touched:
# a quarter of the update's CPU time (docs/performance.md).
_ONE_HEAP = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(2**31 - 1),  # bytes
}


def common_environment() -> dict[str, str]:
    """Environment variables that the nodes of all groups have."""
    return {
        "TF_CPP_MIN_LOG_LEVEL": os.environ.get("TF_CPP_MIN_LOG_LEVEL", "2"),
        # With http_proxy set, gRPC, and so Courier and Reverb, would ask that proxy for every node,
        # for those of this machine too. Nodes reach each other directly.
        "grpc_proxy": os.environ.get("grpc_proxy", ""),
    }


def process_environments(cores_per_actor: int) -> dict[str, dict[str, str]]:
    """Environment variables of the nodes' processes, by group.

    Args:
      cores_per_actor: CPU cores that an actor may use.
    """
    common = common_environment()
    # Only the learner may use accelerators: every JAX process takes a whole one.
    cpu_only = {**common, "CUDA_VISIBLE_DEVICES": "", "JAX_PLATFORMS": "cpu"}
    # XLA starts NPROC threads, or else one for each core of the machine in every process; threads
    # that share the work of one small forward pass cost more than they help.
    threads = {"actor": {"NPROC": str(cores_per_actor)}, "evaluator": {"NPROC": "1"}}
    return {
        name: ({**common, **_ONE_HEAP} if group.learns else cpu_only) | threads.get(name, {})
        for name, group in GROUPS.items()
    }
