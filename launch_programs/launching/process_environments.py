"""The environment variables of the nodes' processes.

Libraries read them when they are loaded or first used, so they must be set earlier. This module
loads none of those libraries, so that a process can check the variables first.
"""

import os

from launch_programs.nodes.groups import GROUPS

# Gives the learner a single heap that grows and is kept. By default every large array of an update
# gets fresh memory from the system, whose pages are mapped one by one on first access: a quarter of
# the update's CPU time (docs/performance.md).
_ONE_HEAP = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(2**31 - 1),  # bytes
}


def common_environment() -> dict[str, str]:
    """Environment variables for nodes of all groups."""
    return {
        "TF_CPP_MIN_LOG_LEVEL": os.environ.get("TF_CPP_MIN_LOG_LEVEL", "2"),
        # With http_proxy set, gRPC, and so Courier and Reverb, would use that proxy to reach every
        # node, even on this machine. Nodes reach each other directly.
        "grpc_proxy": os.environ.get("grpc_proxy", ""),
    }


def process_environments(cores_per_actor: int) -> dict[str, dict[str, str]]:
    """Environment variables for node processes, by group.

    Args:
      cores_per_actor: CPU cores that an actor may use.
    """
    common = common_environment()
    # Only the learner may use accelerators: every JAX process occupies a whole one.
    cpu_only = {**common, "CUDA_VISIBLE_DEVICES": "", "JAX_PLATFORMS": "cpu"}
    # XLA starts NPROC threads, by default one per core in every process; splitting one small
    # forward pass across threads costs more than it saves.
    threads = {"actor": {"NPROC": str(cores_per_actor)}, "evaluator": {"NPROC": "1"}}
    return {
        name: ({**common, **_ONE_HEAP} if group.learns else cpu_only) | threads.get(name, {})
        for name, group in GROUPS.items()
    }
