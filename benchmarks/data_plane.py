"""Queue throughput: `python -m benchmarks.data_plane --num_actors=2 --num_queues=1`.

Runs synthetic actors, processes that write unrolls of random numbers as fast as they can; real
Reverb servers, each in its own process; and a learner that takes batches and discards them. The
shapes are those of the run that the flags describe. Needs the machine to itself.
"""

import json
import multiprocessing
import os
import pathlib
import threading
import time
from typing import Any

import psutil
from absl import app, flags

from benchmarks import stages
from launch_programs.run.run_config import RunConfig
from launch_programs.settings.flags import define_run_flags, resolve

FLAGS = flags.FLAGS

# Agent steps per second of IMPALA's largest setting: 250,000 frames/s (arXiv 1802.01561, table 1).
_IMPALA_STEPS = 250_000 / 4


def define_flags() -> None:
    """Defines the flags of this program."""
    define_run_flags()
    FLAGS.set_default("level_name", "pong")
    flags.DEFINE_float("seconds", 20.0, "Seconds that are measured.")
    flags.DEFINE_string("json", None, "File to write the figures to; by default none.")


def serve(config: RunConfig, ports: Any, stop: Any) -> None:
    """A queue's process: serves its table until `stop` is set."""
    import reverb

    from agents.popart_impala import reverb_queue

    table = reverb_queue.make_table(stages.run_signature(config), config.agent.queue_capacity)
    server = reverb.Server([table])
    ports.put(server.port)
    stop.wait()
    server.stop()


def act(config: RunConfig, port: int, stop: Any) -> None:
    """A synthetic actor's process: writes the same unrolls over and over."""
    import reverb

    from agents.popart_impala import reverb_queue

    signature = stages.run_signature(config)
    unrolls = stages.random_unrolls(config, config.environments_per_actor, seed=0)
    client = reverb.Client(f"localhost:{port}")
    writer = reverb_queue.QueueWriter(client, signature, stop.is_set)
    while not stop.is_set():
        writer.write(unrolls)


def main(argv: list[str]) -> None:
    """Measures and reports."""
    del argv
    import reverb

    from agents.popart_impala import reverb_queue

    config = resolve(None)
    agent = config.agent
    processes = multiprocessing.get_context("spawn")
    stop, ports = processes.Event(), processes.Queue()
    queues = [
        processes.Process(target=serve, args=(config, ports, stop))
        for _ in range(config.num_queues or 1)
    ]
    for queue in queues:
        queue.start()
    addresses = [ports.get(timeout=120) for _ in queues]
    actors = [
        processes.Process(target=act, args=(config, addresses[i % len(addresses)], stop))
        for i in range(config.num_actors)
    ]
    for actor in actors:
        actor.start()
    stop_learner = threading.Event()
    signature = stages.run_signature(config)
    batches = reverb_queue.Prefetcher(
        [
            reverb_queue.make_batches(
                reverb.Client(f"localhost:{port}"), signature, agent.batch_size
            )
            for port in addresses
        ],
        stop_learner.is_set,
    )
    for _ in range(20):  # until all actors write
        next(batches)
    time.sleep(5.0)
    for _ in range(20):
        next(batches)
    nodes = {"learner": [os.getpid()]}
    nodes["queues"] = [queue.pid for queue in queues if queue.pid]
    nodes["actors"] = [actor.pid for actor in actors if actor.pid]
    before, started, taken = _cpu(nodes), time.perf_counter(), 0
    while time.perf_counter() < started + FLAGS.seconds:
        next(batches)
        taken += 1
    elapsed, after = time.perf_counter() - started, _cpu(nodes)
    stop.set()
    for process in [*actors, *queues]:
        process.join(timeout=10)
        process.kill()
    stop_learner.set()

    steps = taken * agent.batch_size * agent.unroll_length
    rate = steps / elapsed
    size = stages.bytes_per_step(config)
    seconds = {name: after[name] - before[name] for name in nodes}
    core_ms = {name: 1000 * s / steps for name, s in seconds.items()}
    per_core = steps / sum(seconds.values())
    figures = {
        "config": config.to_json(),
        "agent_steps_per_second": rate,
        "mib_per_second": rate * size / 2**20,
        "core_ms_per_agent_step": core_ms,
        "agent_steps_per_second_per_core": per_core,
        "bytes_per_agent_step": size,
    }
    print(
        f"{config.num_actors} actors, {len(queues)} queues: {rate:,.0f} agent steps/s, "
        f"{rate * size / 2**20:,.0f} MiB/s\n"
        f"of one core: {per_core:,.0f} agent steps/s, {per_core * size / 2**20:,.0f} MiB/s\n"
        "core-ms per agent step: "
        + ", ".join(f"{name} {ms:.4f}" for name, ms in core_ms.items())
        + f"\nIMPALA's {_IMPALA_STEPS:,.0f} agent steps/s are {_IMPALA_STEPS * size / 1e6:,.0f} "
        f"MB/s; the queues would need {_IMPALA_STEPS * core_ms['queues'] / 1000:.1f} cores, the "
        f"learner's reading {_IMPALA_STEPS * core_ms['learner'] / 1000:.1f}"
    )
    if FLAGS.json is not None:
        pathlib.Path(FLAGS.json).write_text(json.dumps(figures, indent=2) + "\n")


def _cpu(nodes: dict[str, list[int]]) -> dict[str, float]:
    """CPU seconds used so far by the processes of each kind."""
    total = {}
    for name, pids in nodes.items():
        times = [psutil.Process(pid).cpu_times() for pid in pids]
        total[name] = sum(t.user + t.system for t in times)
    return total


if __name__ == "__main__":
    define_flags()
    app.run(main)
