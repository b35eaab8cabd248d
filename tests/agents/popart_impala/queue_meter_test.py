"""The mean fill of real queues."""

import math
import threading
import time
from collections.abc import Callable

import numpy as np
import reverb
import tensorflow as tf

from agents.popart_impala.queue_meter import QueueMeter


def table(capacity: int) -> reverb.Table:
    return reverb.Table.queue("unrolls", capacity, signature=tf.TensorSpec((), tf.float32))


def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120  # a server's answers may time out on a busy machine
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_the_mean_of_all_queues_until_the_stop() -> None:
    stop = threading.Event()
    servers = [reverb.Server([table(capacity=4)], port=None) for _ in range(2)]
    clients = [server.localhost_client() for server in servers]
    meter = QueueMeter(clients, stop, interval=0.01)
    eventually(lambda: meter.mean() == 0.0)
    for _ in range(3):
        clients[0].insert(np.float32(1.0), {"unrolls": 1.0})
    eventually(lambda: meter.mean() == 3 / 8)

    def nothing_for_a_while() -> bool:
        meter.mean()
        time.sleep(0.5)
        return math.isnan(meter.mean())

    assert not nothing_for_a_while()
    servers[1].stop()  # one queue alone says nothing about both
    eventually(nothing_for_a_while)
    stop.set()
    for thread in threading.enumerate():
        if thread.name == "queue meter":
            thread.join(20)
            assert not thread.is_alive()
    servers[0].stop()
