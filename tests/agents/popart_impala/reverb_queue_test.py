"""The queue on a real Reverb server, and the prefetcher."""

import itertools
import math
import threading
from collections.abc import Iterator

import jax
import numpy as np
import pytest
import reverb
from dm_env import specs

from agents.popart_impala import reverb_queue
from agents.popart_impala.config import Config
from agents.popart_impala.networks import make_networks
from agents.popart_impala.types import Unroll
from agents.popart_impala.unrolls import Signature, unroll_signature
from tests.agents.popart_impala.serving import serve

FEATURES = specs.Array((2,), np.float32, "features")


def make_signature(use_lstm: bool) -> Signature:
    networks = make_networks(
        Config(network="mlp", use_lstm=use_lstm),
        features_spec=FEATURES,
        num_actions=3,
        num_tasks=2,
    )
    return unroll_signature(FEATURES, 3, 4, networks.initial_state(1))


SIGNATURE = make_signature(use_lstm=False)


def numbered(numbers: range, signature: Signature = SIGNATURE) -> Unroll:
    """Unrolls whose entries all equal their number (bool: whether that is odd)."""

    def fill(spec: specs.Array) -> np.ndarray:
        values = np.array(numbers).reshape(-1, *[1] * len(spec.shape))
        if spec.dtype == bool:
            values = values % 2
        return np.broadcast_to(values, (len(numbers), *spec.shape)).astype(spec.dtype)

    return jax.tree.map(fill, signature)


def assert_same(actual: np.ndarray, expected: np.ndarray) -> None:
    assert actual.dtype == expected.dtype
    np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize("use_lstm", [False, True])
def test_unrolls_come_in_order_and_once_and_as_they_were_written(use_lstm: bool) -> None:
    signature = make_signature(use_lstm)
    client = serve([reverb_queue.make_table(signature, capacity=12)])
    writer = reverb_queue.QueueWriter(client, signature)
    writer.write(numbered(range(0, 5), signature))
    writer.write(numbered(range(5, 12), signature))
    batches = reverb_queue.make_batches(client, signature, batch_size=4)
    for start in (0, 4, 8):
        data = next(batches).data
        assert isinstance(data, Unroll)
        # Fails for a different named tuple of the same name, in initial_state too.
        jax.tree.map(assert_same, data, numbered(range(start, start + 4), signature))
    (info,) = client.server_info().values()
    assert info.current_size == 0


def test_the_table_is_a_bounded_queue() -> None:
    client = serve([reverb_queue.make_table(SIGNATURE, capacity=6)])
    info = client.server_info()[reverb_queue.TABLE_NAME]
    assert info.max_size == 6
    assert info.max_times_sampled == 1
    assert info.sampler_options.fifo
    assert info.remover_options.fifo


def test_how_full_the_queues_are() -> None:
    tables = [[reverb_queue.make_table(SIGNATURE, capacity=4)] for _ in range(2)]
    first = serve(tables[0])
    second = serve(tables[1])
    assert reverb_queue.queue_fill([first, second]) == 0.0
    reverb_queue.QueueWriter(first, SIGNATURE).write(numbered(range(4)))
    reverb_queue.QueueWriter(second, SIGNATURE).write(numbered(range(1)))
    assert reverb_queue.queue_fill([first]) == 1.0
    assert reverb_queue.queue_fill([first, second]) == 5 / 8
    batches = reverb_queue.make_batches(first, SIGNATURE, batch_size=2)
    next(batches)
    assert reverb_queue.queue_fill([first]) <= 0.5  # the sampler may hold one more batch
    assert math.isnan(reverb_queue.queue_fill([first, second], lambda: True))


def test_how_full_a_queue_is_that_has_gone_is_not_known() -> None:
    server = reverb.Server([reverb_queue.make_table(SIGNATURE, capacity=4)])
    client = reverb.Client(f"localhost:{server.port}")
    assert reverb_queue.queue_fill([client]) == 0.0
    server.stop()
    assert math.isnan(reverb_queue.queue_fill([client]))


def test_writing_waits_while_the_queue_is_full() -> None:
    client = serve([reverb_queue.make_table(SIGNATURE, capacity=2)])
    writer = reverb_queue.QueueWriter(client, SIGNATURE)
    thread = threading.Thread(target=writer.write, args=(numbered(range(5)),), daemon=True)
    thread.start()
    thread.join(timeout=1.2)  # longer than one attempt
    assert thread.is_alive()
    (info,) = client.server_info().values()
    assert info.current_size == 2
    batches = reverb_queue.make_batches(client, SIGNATURE, batch_size=5)
    np.testing.assert_array_equal(next(batches).data.params_step, np.arange(5))
    thread.join()


def test_a_stop_ends_the_wait_of_a_writer() -> None:
    stop = threading.Event()
    client = serve([reverb_queue.make_table(SIGNATURE, capacity=2)])
    writer = reverb_queue.QueueWriter(client, SIGNATURE, stop.is_set)
    thread = threading.Thread(target=writer.write, args=(numbered(range(5)),), daemon=True)
    thread.start()
    stop.set()
    thread.join(timeout=60)
    assert not thread.is_alive()


# The prefetcher.


def test_prefetcher_keeps_the_order_and_ends() -> None:
    assert list(reverb_queue.Prefetcher([iter(range(20))])) == list(range(20))


def test_prefetcher_is_one_ahead() -> None:
    fetched: list[int] = []
    more = threading.Semaphore(0)

    def numbers() -> Iterator[int]:
        for number in range(5):
            fetched.append(number)
            more.release()
            yield number

    prefetcher = reverb_queue.Prefetcher([numbers()])
    for number in range(4):
        assert more.acquire(timeout=60)
        # `number` is fetched before anyone asks for it, and no more than that.
        assert not more.acquire(timeout=0.1)
        assert fetched == list(range(number + 1))
        assert next(prefetcher) == number


def test_prefetcher_raises_what_the_iterator_raised() -> None:
    def failing() -> Iterator[int]:
        yield 1
        raise RuntimeError("no more memory")

    prefetcher = reverb_queue.Prefetcher([failing()])
    assert next(prefetcher) == 1
    with pytest.raises(RuntimeError, match="no more memory"):
        next(prefetcher)
    with pytest.raises(RuntimeError):  # on every call
        next(prefetcher)


def test_prefetcher_has_ended_for_good() -> None:
    prefetcher = reverb_queue.Prefetcher([iter([1])])
    assert next(prefetcher) == 1
    for _ in range(3):
        with pytest.raises(StopIteration):
            next(prefetcher)


def test_several_iterators_are_all_used_each_in_order_and_none_waits_for_another() -> None:
    released = threading.Event()

    def late() -> Iterator[int]:
        assert released.wait(60)
        yield from range(100, 103)

    prefetcher = reverb_queue.Prefetcher([iter(range(5)), late()])
    assert [next(prefetcher) for _ in range(5)] == [0, 1, 2, 3, 4]
    released.set()
    assert list(prefetcher) == [100, 101, 102]


def test_an_error_of_one_of_several_iterators_is_raised() -> None:
    def failing() -> Iterator[int]:
        yield 0
        raise RuntimeError("server gone")

    prefetcher = reverb_queue.Prefetcher([itertools.repeat(1), failing()])
    with pytest.raises(RuntimeError, match="server gone"):
        for _ in range(1_000_000):
            next(prefetcher)


def test_two_servers_feed_one_learner() -> None:
    """Nothing is lost, duplicated or mixed in a batch; an empty server never holds up the other."""
    table = reverb_queue.make_table
    a = serve([table(SIGNATURE, 8)])
    b = serve([table(SIGNATURE, 8)])
    prefetcher = reverb_queue.Prefetcher(
        [reverb_queue.make_batches(client, SIGNATURE, batch_size=4) for client in (a, b)]
    )

    def next_numbers() -> list[int]:
        return next(prefetcher).data.params_step.tolist()

    writers = [reverb_queue.QueueWriter(client, SIGNATURE) for client in (a, b)]
    writers[1].write(numbered(range(100, 104)))
    assert next_numbers() == [100, 101, 102, 103]
    writers[0].write(numbered(range(0, 8)))
    writers[1].write(numbered(range(104, 108)))
    batches = [next_numbers() for _ in range(3)]
    assert sorted(batches) == [[0, 1, 2, 3], [4, 5, 6, 7], [104, 105, 106, 107]]
    assert batches.index([0, 1, 2, 3]) < batches.index([4, 5, 6, 7])


def test_a_stop_ends_the_wait_for_a_batch() -> None:
    stop = threading.Event()
    received: list[list[int]] = []

    def receive(batches: Iterator[reverb.ReplaySample]) -> None:
        for batch in batches:
            received.append(batch.data.params_step.tolist())

    client = serve([reverb_queue.make_table(SIGNATURE, capacity=8)])
    reverb_queue.QueueWriter(client, SIGNATURE).write(numbered(range(5)))
    prefetcher = reverb_queue.Prefetcher(
        [reverb_queue.make_batches(client, SIGNATURE, batch_size=2)], stop.is_set
    )
    thread = threading.Thread(target=receive, args=(prefetcher,), daemon=True)
    thread.start()
    while len(received) < 2:
        thread.join(timeout=0.01)
    stop.set()
    thread.join(timeout=60)
    assert not thread.is_alive()
    assert received == [[0, 1], [2, 3]]  # the fifth unroll does not fill a batch
