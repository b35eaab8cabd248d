"""Keeps acting when environments fail: recreates them and cuts off their episodes."""

import dataclasses
import functools
import queue
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
from dm_env import specs

from environments.types import BatchedEnvironment, BatchedTimeStep, Observation, checked_actions

_T = TypeVar("_T")
_Call = Callable[[BatchedEnvironment], Any]


@dataclasses.dataclass(frozen=True)
class EnvironmentFailure:
    """A failure that a `GuardedEnvironment` caught."""

    what: str  # one sentence; names the environment and its task where they are known
    # Several lines: an exception's traceback, the stack of the thread that does not answer, or the
    # wrong array.
    cause: str
    in_a_row: int  # failures without enough good steps between them, including this one


class EnvironmentFailed(Exception):
    """Environments failed too often in a row to continue."""

    def __init__(self, failure: EnvironmentFailure):
        super().__init__(failure)
        self.failure = failure

    def __str__(self) -> str:
        failure = self.failure
        return f"{failure.what} (failure {failure.in_a_row} in a row)\n{failure.cause}"


class GuardedEnvironment(BatchedEnvironment):
    """N environments that are recreated when they fail, so that a failure does not end the run.

    A failure is an exception, a missed deadline, a reward, discount or feature that is not finite,
    or an array whose shape or dtype does not match the specs. All N environments are then given up,
    since they may share the cause, and N new ones are made. `step` and `reset` return the result of
    the new ones' `reset`: rewards 0, discounts 1, and every episode starts
    (`BatchedTimeStep.abandoned`).

    One thread makes, steps and closes the environments. If it does not answer, it is abandoned with
    them, and the new ones get a new thread; should it answer after all, it closes its environments
    and ends. Nothing can catch a failure that ends the process or hangs holding the GIL.
    """

    def __init__(
        self,
        make: Callable[[int], BatchedEnvironment],
        *,
        task_names: Sequence[str],
        deadline: float,
        max_failures: int,
        on_failure: Callable[[EnvironmentFailure], None],
        recovery_steps: int = 1000,
    ):
        """Makes the environments and starts their first episodes.

        Args:
          make: makes the environments, always with the same tasks and specs. Its argument is the
            number of the attempt, from 0; a seed that depends on it keeps new environments from
            running into the same failure.
          task_names: [number of tasks], names of the run's tasks, for failures.
          deadline: seconds that making, resetting, stepping or closing all environments may take;
            making 57 Atari games takes many times longer than stepping them.
          max_failures: after this many failures in a row, the last one is raised.
          on_failure: called with every failure, in the thread that calls this object.
          recovery_steps: this many good steps end a row of failures: environments that fail more
            often than that end the run. One good step between failures says little, since a broken
            environment may fail on every third step.

        Raises:
          EnvironmentFailed: after `max_failures` failures in a row.
        """
        self._make = make
        self._task_names = task_names
        self._deadline = deadline
        self._max_failures = max_failures
        self._on_failure = on_failure
        self._recovery_steps = recovery_steps
        self._attempts = 0
        self._in_a_row = 0
        self._good_steps = 0  # since the last failure, until they end its row
        self._interface: _Interface | None = None  # None until environments have been made
        self._worker: _Worker | None = None  # None when closed
        self._initial: BatchedTimeStep | None = self._start()

    @property
    def tasks(self) -> np.ndarray:
        """The task of every environment, int32 [N]."""
        return self._known.tasks

    def observation_spec(self) -> Observation:
        """Specs of one environment's features and task."""
        return self._known.observation_spec

    def action_spec(self) -> specs.DiscreteArray:
        """Spec of one environment's action, int32."""
        return self._known.action_spec

    def reset(self) -> BatchedTimeStep:
        """Starts a new episode in every environment.

        Raises:
          EnvironmentFailed: after `max_failures` failures in a row.
          RuntimeError: if the environments were closed, or failed too often before.
        """
        worker = self._require_open()
        initial, self._initial = self._initial, None
        if initial is not None:
            return initial
        try:
            return self._reset(worker)
        except _Fault as fault:
            self._give_up("reset()", fault)
        return self._start()

    def step(self, actions: np.ndarray) -> BatchedTimeStep:
        """Takes one agent step in every environment, or starts new ones if that fails.

        Raises:
          ValueError: if `actions` has another shape or type, or an action is out of range.
          EnvironmentFailed: after `max_failures` failures in a row.
          RuntimeError: if the environments were closed, or failed too often before.
        """
        worker, known = self._require_open(), self._known
        # A caller's mistake is not a failure of the environments.
        actions = checked_actions(actions, len(known.tasks), known.action_spec.num_values)
        self._initial = None
        try:
            timestep = worker.call(lambda batch: known.checked(batch.step(actions)), self._deadline)
        except _Fault as fault:
            self._give_up("step()", fault)
            return self._start()
        if self._in_a_row:
            self._good_steps += 1
            if self._good_steps >= self._recovery_steps:
                self._in_a_row = 0
        return timestep

    def close(self) -> None:
        """Closes the environments, waiting at most the deadline; a failure is only reported."""
        worker, self._worker = self._worker, None
        self._initial = None
        if worker is None:
            return
        try:
            worker.close(self._deadline)
        except _Fault as fault:
            self._report("close()", fault)

    @property
    def _known(self) -> "_Interface":
        assert self._interface is not None  # __init__ makes environments, or raises
        return self._interface

    def _require_open(self) -> "_Worker":
        if self._worker is None:
            raise RuntimeError("the environments were closed, or failed too often")
        return self._worker

    def _start(self) -> BatchedTimeStep:
        """Makes environments and starts their episodes, retrying until that succeeds."""
        while True:
            doing = "construction"
            make = functools.partial(self._make, self._attempts)
            self._attempts += 1
            try:
                self._worker = _Worker(make, self._deadline)
                interface = self._worker.call(_Interface, self._deadline)
                if self._interface is None:
                    self._interface = interface
                interface.require_equal(self._interface)
                doing = "reset()"
                return self._reset(self._worker)
            except _Fault as fault:
                self._give_up(doing, fault)

    def _reset(self, worker: "_Worker") -> BatchedTimeStep:
        known = self._known
        return worker.call(lambda batch: known.checked(batch.reset()), self._deadline)

    def _give_up(self, doing: str, fault: "_Fault") -> None:
        """Closes the environments and reports the failure; raises it if there were too many."""
        worker, self._worker = self._worker, None
        if worker is not None:
            try:
                worker.close(self._deadline)
            except _Fault as closing:
                fault.cause += f"\nclose() failed, too: {closing.reason}\n{closing.cause}"
        failure = self._report(doing, fault)
        if failure.in_a_row >= self._max_failures:
            raise EnvironmentFailed(failure) from None

    def _report(self, doing: str, fault: "_Fault") -> EnvironmentFailure:
        self._in_a_row += 1
        self._good_steps = 0
        what = f"{self._name(fault.indices)} failed in {doing}: {fault.reason}"
        failure = EnvironmentFailure(what, fault.cause, self._in_a_row)
        self._on_failure(failure)
        return failure

    def _name(self, indices: Sequence[int]) -> str:
        if self._interface is None:
            return "the environments"
        tasks = self._interface.tasks
        if not indices:
            return f"one of {len(tasks)} environments"
        task = tasks[indices[0]]
        which = f"environment {indices[0]}"
        if len(indices) > 1:
            which = f"one of environments {', '.join(map(str, indices))}"
        return f"{which} (task {task}, {self._task_names[task]})"


class _Fault(Exception):
    """What went wrong in a call to the environments."""

    def __init__(self, reason: str, cause: str, indices: Sequence[int] = ()):
        super().__init__(reason)
        self.reason = reason  # one line
        self.cause = cause  # as in EnvironmentFailure
        self.indices = indices  # as BatchedEnvironment.stepping


class _Interface:
    """The tasks and specs of environments, and checks of time steps against them."""

    def __init__(self, batch: BatchedEnvironment):
        self.tasks = batch.tasks
        self.observation_spec = batch.observation_spec()
        self.action_spec = batch.action_spec()
        n = len(self.tasks)
        features = self.observation_spec.features
        self._arrays = (
            ("features", (n, *features.shape), features.dtype),
            ("task", (n,), np.dtype(np.int32)),
            ("reward", (n,), np.dtype(np.float32)),
            ("discount", (n,), np.dtype(np.float32)),
            ("first", (n,), np.dtype(np.bool_)),
            ("episode_end", (n,), np.dtype(np.bool_)),
            ("final_features", (n, *features.shape), features.dtype),
        )

    def require_equal(self, other: "_Interface") -> None:
        """Raises _Fault if the tasks or specs differ."""
        for name, now, before in (
            ("tasks", self.tasks.tolist(), other.tasks.tolist()),
            ("observation specs", self.observation_spec, other.observation_spec),
            ("action specs", self.action_spec, other.action_spec),
        ):
            if now != before:
                raise _Fault(f"other {name} than before", f"before: {before}\nnow: {now}")

    def checked(self, timestep: BatchedTimeStep) -> BatchedTimeStep:
        """Returns the time step; raises _Fault if it does not match the specs."""
        for (name, shape, dtype), array in zip(
            self._arrays, (*timestep.observation, *timestep[1:]), strict=True
        ):
            if array is None and name == "final_features":
                continue
            if array.shape != shape or array.dtype != dtype:
                raise _Fault(
                    f"the {name} array is {array.dtype} {array.shape}, not {dtype} {shape}",
                    f"{name}: {array}",
                )
        for name, array in (("reward", timestep.reward), ("discount", timestep.discount)):
            finite = np.isfinite(array)
            if not finite.all():
                index = int(np.argmin(finite))
                raise _Fault(f"the {name} is {array[index]}", f"{name}: {array}", [index])
        _require_finite(timestep.observation.features, np.arange(len(self.tasks)))
        truncated = np.flatnonzero(timestep.truncated)
        if truncated.size and timestep.final_features is not None:
            _require_finite(timestep.final_features[truncated], truncated)
        return timestep


def _require_finite(features: np.ndarray, indices: np.ndarray) -> None:
    """Raises _Fault if features [n, ...] of the environments at these indices are not finite."""
    if features.dtype.kind != "f":
        return
    finite = np.isfinite(features)
    if not finite.all():
        row, *entry = (int(i) for i in np.argwhere(~finite)[0])
        bad = features[row]
        raise _Fault(
            f"the features have {bad[tuple(entry)]} at {entry}",
            f"features: {bad}",
            [int(indices[row])],
        )


class _Worker:
    """A thread that makes environments, calls them and closes them."""

    def __init__(self, make: Callable[[], BatchedEnvironment], deadline: float):
        """Makes the environments; raises _Fault if that fails or takes longer than the deadline."""
        # None asks the thread to close the environments and end.
        self._calls: queue.SimpleQueue[_Call | None] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[Any] = queue.SimpleQueue()  # results, or _Faults
        self._batch: BatchedEnvironment | None = None
        self._hangs = False
        self._thread = threading.Thread(
            target=self._run, args=(make,), name="environments", daemon=True
        )
        self._thread.start()
        self._wait(deadline)

    def call(self, function: Callable[[BatchedEnvironment], _T], deadline: float) -> _T:
        """Returns function(environments); raises _Fault if it fails or takes too long."""
        self._calls.put(function)
        return self._wait(deadline)

    def close(self, deadline: float) -> None:
        """Closes the environments unless they hang; raises _Fault as `call` does."""
        if not self._hangs:
            self._calls.put(None)
            self._wait(deadline)
            self._thread.join(deadline)

    def _wait(self, deadline: float) -> Any:
        try:
            answer = self._answers.get(timeout=deadline)
        except queue.Empty:
            self._hangs = True
            self._calls.put(None)  # in case it answers after all
            raise _Fault(
                f"no answer within {deadline:g} s", self._stack(), self._stepping()
            ) from None
        if isinstance(answer, _Fault):
            raise answer
        return answer

    def _stack(self) -> str:
        frame = sys._current_frames().get(self._thread.ident or 0)
        return "".join(traceback.format_stack(frame)) if frame else "its thread has ended by now"

    def _stepping(self) -> Sequence[int]:
        return () if self._batch is None else self._batch.stepping

    def _run(self, make: Callable[[], BatchedEnvironment]) -> None:
        self._answer(lambda: self._set_batch(make()))
        batch = self._batch
        if batch is None:
            return
        while (function := self._calls.get()) is not None:
            self._answer(functools.partial(function, batch))
        self._answer(batch.close)

    def _set_batch(self, batch: BatchedEnvironment) -> None:
        self._batch = batch

    def _answer(self, function: Callable[[], Any]) -> None:
        """Puts the function's result, or its fault, into the queue of answers."""
        try:
            answer = function()
        except _Fault as fault:
            answer = fault
        except BaseException as error:  # also SystemExit: without an answer it looks like a hang
            last_line = traceback.format_exception_only(type(error), error)[-1]
            # As text: a traceback object would keep the environments alive.
            answer = _Fault(last_line.splitlines()[0], traceback.format_exc(), self._stepping())
        self._answers.put(answer)
