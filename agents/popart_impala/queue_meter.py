"""Measures how full the queues are, averaged over time."""

import math
import threading
from collections.abc import Sequence

import reverb

from agents.popart_impala.reverb_queue import queue_fill


class QueueMeter:
    """Polls the queues in its own thread, so that nothing else waits for their answers.

    The learner takes whole batches, so a poll from its loop would always find the same: what is
    left after a batch was taken.
    """

    def __init__(
        self, clients: Sequence[reverb.Client], stop: threading.Event, interval: float = 0.25
    ):
        """Starts the thread, which ends with the program.

        Args:
          clients: of the queues' servers.
          stop: set when the program stops.
          interval: seconds between polls.
        """
        self._clients = clients
        self._stop = stop
        self._interval = interval
        self._lock = threading.Lock()
        self._sum, self._looks = 0.0, 0
        threading.Thread(target=self._measure, name="queue meter", daemon=True).start()

    def mean(self) -> float:
        """Returns the mean fill since the last call, 0 to 1; NaN without a poll or an answer."""
        with self._lock:
            mean = self._sum / self._looks if self._looks else math.nan
            self._sum, self._looks = 0.0, 0
        return mean

    def _measure(self) -> None:
        while not self._stop.wait(self._interval):
            fill = queue_fill(self._clients, self._stop.is_set)
            if not math.isnan(fill):
                with self._lock:
                    self._sum += fill
                    self._looks += 1
