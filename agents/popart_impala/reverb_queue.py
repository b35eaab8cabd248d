"""The queue between actors and learner: a Reverb FIFO table of unrolls, each sampled once."""

import math
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic, TypeVar

import jax
import reverb
import tensorflow as tf

from agents.popart_impala.types import Unroll
from agents.popart_impala.unrolls import Signature

TABLE_NAME = "unrolls"

# How long one blocking call may last before we check whether the program should stop.
_POLL_SECONDS = 0.5

T = TypeVar("T")


def make_table(signature: Signature, capacity: int) -> reverb.Table:
    """Makes the FIFO table; inserting blocks while it holds `capacity` unrolls."""
    return reverb.Table.queue(
        TABLE_NAME,
        max_size=capacity,
        signature=jax.tree.map(lambda s: tf.TensorSpec(s.shape, s.dtype, s.name), signature),
    )


class QueueWriter:
    """Writes unrolls to the table, each as one item and one append of whole arrays."""

    def __init__(
        self,
        client: reverb.Client,
        signature: Signature,
        should_stop: Callable[[], bool] = lambda: False,
    ):
        """Opens a writer.

        Args:
          client: of the Reverb server that has the table.
          signature: of one unroll.
          should_stop: polled while the queue is full; once true, `write` gives up waiting.
        """
        self.signature = signature
        self._writer = client.trajectory_writer(num_keep_alive_refs=1)
        self._should_stop = should_stop

    def write(self, unrolls: Unroll) -> None:
        """Writes N unrolls and waits until the queue has taken them.

        Args:
          unrolls: [N, ...] arrays.

        Raises:
          ValueError: an array does not match the signature; the message names the field.
        """
        jax.tree_util.tree_map(_check, self.signature, unrolls)
        for i in range(unrolls.action.shape[0]):
            self._writer.append(jax.tree.map(lambda x, i=i: x[i], unrolls))
            self._writer.create_item(
                TABLE_NAME,
                priority=1.0,
                trajectory=jax.tree.map(lambda column: column[-1], self._writer.history),
            )
        while not self._should_stop():
            try:
                self._writer.flush(timeout_ms=int(_POLL_SECONDS * 1000))
                return
            except reverb.DeadlineExceededError:
                continue  # the queue is full


def _check(spec: Any, array: Any) -> None:
    if array.shape[1:] != spec.shape or array.dtype != spec.dtype:
        raise ValueError(
            f"unroll field {spec.name} is {array.dtype} {list(array.shape[1:])}, "
            f"but the queue's signature says {spec.dtype} {list(spec.shape)}"
        )


def queue_fill(
    clients: Sequence[reverb.Client], should_stop: Callable[[], bool] = lambda: False
) -> float:
    """Returns how full the queues are now: the unrolls waiting, as a fraction of total capacity.

    Near 1, actors wait for the learner; near 0, the learner waits for actors. Each server has a
    second to answer.

    Args:
      clients: of the queues' servers.
      should_stop: called before each server is asked.

    Returns:
      0 to 1; NaN if a server does not answer or it is time to stop. Only a figure is lost then: a
      queue's reader and its supervisor notice when it is gone.
    """
    held = room = 0
    for client in clients:
        if should_stop():
            return math.nan
        try:
            table = client.server_info(timeout=1)[TABLE_NAME]
        except (RuntimeError, reverb.ReverbError):  # gone; too slow
            return math.nan
        held += table.current_size
        room += table.max_size
    return held / room


def make_batches(
    client: reverb.Client, signature: Signature, batch_size: int
) -> Iterator[reverb.ReplaySample]:
    """Yields batches in queue order; `sample.data` is an `Unroll` of NumPy arrays [B, ...].

    The iterator blocks while the queue holds too few unrolls, and for ever if the server is gone,
    because Reverb keeps trying to reach it: run it in a `Prefetcher`.
    """
    # Reverb returns named tuples as TensorFlow's own types, which JAX takes for different ones.
    structure = jax.tree.structure(signature)
    dataset = reverb.TrajectoryDataset.from_table_signature(
        client.server_address,
        TABLE_NAME,
        max_in_flight_samples_per_worker=2,  # more would be a second queue, and policy lag
        num_workers_per_iterator=1,  # more would mix the order
    )
    options = tf.data.Options()
    options.threading.private_threadpool_size = 1
    # TensorFlow would add its own buffer of batches: one or two updates of policy lag.
    options.experimental_optimization.inject_prefetch = False
    dataset = dataset.batch(batch_size, drop_remainder=True).with_options(options)
    for sample in dataset.as_numpy_iterator():
        yield sample._replace(data=jax.tree.unflatten(structure, jax.tree.leaves(sample.data)))


class Prefetcher(Generic[T]):
    """Runs iterators one element ahead, each in its own thread, and merges them into one.

    Elements come in the order in which they become ready; those of one iterator keep their order.
    """

    def __init__(
        self, iterators: Sequence[Iterator[T]], should_stop: Callable[[], bool] = lambda: False
    ):
        """Starts the threads.

        Args:
          iterators: the iterators to run ahead, each used only by its thread.
          should_stop: polled while waiting for an element; once true, the iteration ends.
        """
        # Ready elements, each with the semaphore that frees its thread; None when a thread ends.
        self._ready: queue.SimpleQueue[tuple[T, threading.Semaphore] | None] = queue.SimpleQueue()
        self._running = len(iterators)
        self._error: BaseException | None = None
        self._should_stop = should_stop
        for iterator in iterators:
            threading.Thread(
                target=self._produce, args=(iterator,), name="prefetch", daemon=True
            ).start()

    def _produce(self, iterator: Iterator[T]) -> None:
        taken = threading.Semaphore(0)
        try:
            for element in iterator:
                self._ready.put((element, taken))
                taken.acquire()  # else a second one would be fetched
        except BaseException as error:  # raised in the thread that calls next()
            self._error = error
        self._ready.put(None)

    def __iter__(self) -> "Prefetcher[T]":
        return self

    def __next__(self) -> T:
        while not self._should_stop():
            if self._error is not None:
                raise self._error
            if self._running == 0:
                break
            try:
                ready = self._ready.get(timeout=_POLL_SECONDS)
            except queue.Empty:
                continue
            if ready is None:
                self._running -= 1
                continue
            element, taken = ready
            taken.release()
            return element
        raise StopIteration
