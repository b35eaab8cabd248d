"""Environments that misbehave in various ways, under a guard."""

import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import dm_env
import numpy as np
import pytest

from environments import (
    AtariOptions,
    BatchedDmEnvironments,
    BatchedEnvironment,
    BatchedTimeStep,
    Catch,
    EnvironmentFailed,
    EnvironmentFailure,
    GuardedEnvironment,
    WithTask,
    make_batched_environment,
    parse_level_name,
)
from environments.atari import AtariBatch

NAMES = ("catch_x1", "catch_x100")
STAY = np.ones(3, np.int32)
SHORT = 0.5  # seconds: the deadline in tests that miss it
Misbehave = Callable[[dm_env.TimeStep], dm_env.TimeStep]


class Moody(Catch):
    """Catch in which the result of one step or reset goes through a function."""

    def __init__(
        self,
        *,
        step: Misbehave | None = None,
        at_step: int = 2,
        reset: Misbehave | None = None,
        at_reset: int = 1,
    ):
        super().__init__(seed=0)
        self._mood = {"step": (at_step, step), "reset": (at_reset, reset)}
        self._count = {"step": 0, "reset": 0}
        self.threads: set[threading.Thread] = set()
        self.closed = threading.Event()

    def _moody(self, call: str, timestep: dm_env.TimeStep) -> dm_env.TimeStep:
        self.threads.add(threading.current_thread())
        self._count[call] += 1
        at, misbehave = self._mood[call]
        return misbehave(timestep) if misbehave and self._count[call] == at else timestep

    def step(self, action: int) -> dm_env.TimeStep:
        return self._moody("step", super().step(action))

    def reset(self) -> dm_env.TimeStep:
        return self._moody("reset", super().reset())

    def close(self) -> None:
        self.threads.add(threading.current_thread())
        self.closed.set()


class Makes:
    """Makes batches of three; the middle one is the attempt's, or a good Catch after the last."""

    def __init__(self, *middles: Moody):
        self._middles = middles
        self.attempts: list[int] = []

    def __call__(self, attempt: int) -> BatchedDmEnvironments:
        self.attempts.append(attempt)
        middle = self._middles[attempt] if attempt < len(self._middles) else Moody()
        return batch_of(Moody(), middle, Moody())


def batch_of(*environments: dm_env.Environment) -> BatchedDmEnvironments:
    return BatchedDmEnvironments([WithTask(e, i % 2, 2) for i, e in enumerate(environments)])


def guard(
    make: Callable[[int], BatchedEnvironment],
    failures: list[EnvironmentFailure],
    *,
    deadline: float = 30.0,
    max_failures: int = 3,
    recovery_steps: int = 1000,
    task_names: Sequence[str] = NAMES,
) -> GuardedEnvironment:
    return GuardedEnvironment(
        make,
        task_names=task_names,
        deadline=deadline,
        max_failures=max_failures,
        on_failure=failures.append,
        recovery_steps=recovery_steps,
    )


def assert_started(step: BatchedTimeStep) -> None:
    assert step.abandoned.all() and step.first.all() and not step.episode_end.any()
    assert (step.reward == 0).all() and (step.discount == 1).all()
    assert step.observation.features.shape == (3, 10, 5)
    assert (step.observation.features[:, 0].sum(axis=1) == 1).all()  # the balls are at the top


def raises(timestep: dm_env.TimeStep) -> dm_env.TimeStep:
    raise KeyError("no such ball\nin this game")


def exits(timestep: dm_env.TimeStep) -> dm_env.TimeStep:
    sys.exit(3)


def terminated_at_nan(timestep: dm_env.TimeStep) -> dm_env.TimeStep:
    return dm_env.termination(0.0, np.full_like(timestep.observation, np.nan))


def test_a_terminated_episodes_last_observation_may_be_anything() -> None:
    failures: list[EnvironmentFailure] = []
    environment = guard(Makes(Moody(step=terminated_at_nan)), failures)
    environment.reset()
    environment.step(STAY)
    step = environment.step(STAY)
    np.testing.assert_array_equal(step.first, [False, True, False])
    assert not failures
    environment.close()


def doubled(timestep: dm_env.TimeStep) -> dm_env.TimeStep:
    return timestep._replace(observation=np.tile(timestep.observation, 2))


def wider(timestep: dm_env.TimeStep) -> dm_env.TimeStep:
    return timestep._replace(observation=timestep.observation.astype(np.float64))


def one_infinite(timestep: dm_env.TimeStep) -> dm_env.TimeStep:
    timestep.observation[-1, -1] = -np.inf
    return timestep


def cut_off_at_nan(timestep: dm_env.TimeStep) -> dm_env.TimeStep:
    timestep.observation[3, 0] = np.nan
    return dm_env.truncation(0.0, timestep.observation)


@pytest.mark.parametrize(
    ("misbehave", "reason", "cause"),
    [
        (raises, "KeyError: 'no such ball\\nin this game'", "in raises\n    raise KeyError("),
        (exits, "SystemExit: 3", "in exits\n    sys.exit(3)"),
        (lambda t: t._replace(reward=np.nan), "the reward is nan", "reward: [ 0. nan  0.]"),
        (lambda t: t._replace(discount=np.inf), "the discount is inf", "discount: [ 1. inf  1.]"),
        (
            lambda t: t._replace(observation=np.full_like(t.observation, np.nan)),
            "the features have nan at [0, 0]",
            "features: [[nan",
        ),
        (one_infinite, "the features have -inf at [9, 4]", "-inf"),
        (cut_off_at_nan, "the features have nan at [3, 0]", "nan"),
        (
            doubled,
            "ValueError: features are float32 (10, 10), their spec says float32 (10, 5)",
            "in step",
        ),
        (
            wider,
            "ValueError: features are float64 (10, 5), their spec says float32 (10, 5)",
            "in step",
        ),
        (
            lambda t: None,
            "AttributeError: 'NoneType' object has no attribute '_replace'",
            "in step",
        ),
    ],
    ids=[
        *("exception", "exit", "reward", "discount", "features", "one feature", "last features"),
        *("shape", "dtype", "nothing"),
    ],
)
def test_a_step_that_fails_cuts_all_episodes(misbehave: Misbehave, reason: str, cause: str) -> None:
    failures: list[EnvironmentFailure] = []
    bad = Moody(step=misbehave)
    make = Makes(bad)
    environment = guard(make, failures)
    assert_started(environment.reset())
    assert not environment.step(STAY).first.any()
    assert not failures
    assert_started(environment.step(STAY))
    (failure,) = failures
    assert failure.what == f"environment 1 (task 1, catch_x100) failed in step(): {reason}"
    assert cause in failure.cause
    assert failure.in_a_row == 1
    assert make.attempts == [0, 1]
    assert bad.closed.is_set()
    for _ in range(8):
        assert not environment.step(STAY).first.any()
    step = environment.step(STAY)  # an episode of the usual length, with the usual end
    assert step.first.all() and step.episode_end.all() and not step.abandoned.any()
    assert len(failures) == 1
    environment.close()


def test_a_hang_is_noticed_and_shown() -> None:
    failures: list[EnvironmentFailure] = []
    event, done = threading.Event(), threading.Event()

    def waits(timestep: dm_env.TimeStep) -> dm_env.TimeStep:
        event.wait()
        return timestep

    def sleeps(timestep: dm_env.TimeStep) -> dm_env.TimeStep:
        while not done.is_set():
            time.sleep(0.05)
        return timestep

    waiting, sleeping = Moody(step=waits), Moody(reset=sleeps, at_reset=2)
    environment = guard(Makes(waiting, sleeping), failures, deadline=SHORT)
    environment.step(STAY)
    assert_started(environment.step(STAY))
    for _ in range(8):
        environment.step(STAY)
    # The episode ends, and the next one does not start.
    assert_started(environment.step(STAY))

    for failure, where in zip(failures, ("event.wait()", "time.sleep(0.05)"), strict=True):
        assert failure.what == (
            "environment 1 (task 1, catch_x100) failed in step(): no answer within 0.5 s"
        )
        assert where in failure.cause
    assert [failure.in_a_row for failure in failures] == [1, 2]

    # When they answer after all, they are closed, in threads that nobody waits for any more.
    event.set()
    done.set()
    for moody in (waiting, sleeping):
        assert moody.closed.wait(30)
        (thread,) = moody.threads
        thread.join(30)
        assert not thread.is_alive()
    assert not environment.step(STAY).first.any()
    environment.close()


def test_a_reset_that_fails() -> None:
    failures: list[EnvironmentFailure] = []
    environment = guard(Makes(Moody(reset=raises, at_reset=2)), failures)
    environment.reset()
    environment.step(STAY)
    assert_started(environment.reset())
    (failure,) = failures
    assert failure.what.startswith("environment 1 (task 1, catch_x100) failed in reset(): KeyError")
    assert not environment.step(STAY).first.any()
    environment.close()


def test_a_construction_that_fails() -> None:
    failures: list[EnvironmentFailure] = []
    go = threading.Event()
    late = Moody()

    def make(attempt: int) -> BatchedDmEnvironments:
        if attempt == 0:
            raise ValueError("no more memory")
        if attempt == 1:
            go.wait()
            return batch_of(late)
        return Makes(Moody(), Moody(), Moody(reset=raises))(attempt)

    environment = guard(make, failures, deadline=SHORT, max_failures=4)
    assert [failure.what for failure in failures] == [
        "the environments failed in construction: ValueError: no more memory",
        "the environments failed in construction: no answer within 0.5 s",
        "the environments failed in construction: RuntimeError: environment 1 failed in its first "
        "reset: KeyError: 'no such ball\\nin this game'",
    ]
    assert "in make\n    raise ValueError(" in failures[0].cause
    assert "go.wait()" in failures[1].cause
    assert "in raises" in failures[2].cause
    assert_started(environment.reset())
    np.testing.assert_array_equal(environment.tasks, [0, 1, 0])
    go.set()
    assert late.closed.wait(30)
    environment.close()


def test_too_many_failures_in_a_row_are_raised() -> None:
    failures: list[EnvironmentFailure] = []

    def make(attempt: int) -> BatchedDmEnvironments:
        raise ValueError("no such game")

    with pytest.raises(EnvironmentFailed, match="ValueError: no such game") as raised:
        guard(make, failures, max_failures=3)
    assert [failure.in_a_row for failure in failures] == [1, 2, 3]
    assert raised.value.failure is failures[2]
    assert "failure 3 in a row" in str(raised.value)
    assert "in make\n" in str(raised.value)  # the traceback


def test_good_steps_end_a_row_of_failures() -> None:
    failures: list[EnvironmentFailure] = []

    def make(attempt: int) -> BatchedDmEnvironments:
        return Makes(Moody(step=raises, at_step=5 if attempt == 1 else 3))(0)

    # Fails at steps 3, 5, 3, 3, ...: only the four good steps end a row.
    environment = guard(make, failures, max_failures=3, recovery_steps=4)
    steps = 0
    with pytest.raises(EnvironmentFailed):
        while True:
            environment.step(STAY)
            steps += 1
    assert [failure.in_a_row for failure in failures] == [1, 1, 2, 3]
    assert steps == 3 + 5 + 3 + 2
    with pytest.raises(RuntimeError, match="failed too often"):
        environment.step(STAY)
    environment.close()


class Altered(BatchedDmEnvironments):
    """A batch whose steps' results go through a function."""

    def __init__(self, alter: Callable[[BatchedTimeStep], Any]):
        super().__init__([WithTask(Moody(), i % 2, 2) for i in range(3)])
        self._alter = alter

    def step(self, actions: np.ndarray) -> BatchedTimeStep:
        return self._alter(super().step(actions))


@pytest.mark.parametrize(
    ("alter", "reason"),
    [
        (
            lambda t: t._replace(reward=t.reward.astype(float)),
            "the reward array is float64 (3,), not float32 (3,)",
        ),
        (lambda t: t._replace(first=t.first[:2]), "the first array is bool (2,), not bool (3,)"),
        (
            lambda t: t._replace(observation=t.observation._replace(task=np.zeros(3))),
            "the task array is float64 (3,), not int32 (3,)",
        ),
        (lambda t: None, "AttributeError: 'NoneType' object has no attribute 'observation'"),
    ],
    ids=["reward", "first", "task", "nothing"],
)
def test_a_batch_that_returns_other_arrays(
    alter: Callable[[BatchedTimeStep], Any], reason: str
) -> None:
    failures: list[EnvironmentFailure] = []
    environment = guard(lambda n: Altered(alter) if n == 0 else Makes()(n), failures)
    assert_started(environment.step(STAY))
    assert [f.what for f in failures] == [f"one of 3 environments failed in step(): {reason}"]
    environment.close()


def test_others_must_be_of_the_same_specs() -> None:
    failures: list[EnvironmentFailure] = []
    other = Moody()

    def make(attempt: int) -> BatchedDmEnvironments:
        return batch_of(other) if attempt == 1 else Makes(Moody(step=raises))(attempt)

    environment = guard(make, failures)
    environment.step(STAY)
    assert_started(environment.step(STAY))
    assert failures[1].what.endswith("failed in construction: other tasks than before")
    assert failures[1].cause == "before: [0, 1, 0]\nnow: [0]"
    assert other.closed.is_set()
    environment.close()


def test_bad_actions_are_the_callers_mistake() -> None:
    failures: list[EnvironmentFailure] = []
    environment = guard(Makes(), failures)
    with pytest.raises(ValueError, match="actions must be"):
        environment.step(np.array([0, 1, 3]))
    assert not failures
    environment.close()


def test_close_ends_the_one_thread() -> None:
    moody = Moody()
    environment = guard(Makes(moody), [])
    environment.step(STAY)
    (thread,) = moody.threads
    assert thread is not threading.current_thread()
    environment.close()
    assert moody.closed.is_set()
    assert moody.threads == {thread} and not thread.is_alive()
    environment.close()
    with pytest.raises(RuntimeError, match="closed"):
        environment.reset()


def test_a_close_that_fails_is_reported() -> None:
    event = threading.Event()

    class Clinging(Moody):
        def close(self) -> None:
            event.wait()
            raise OSError("cannot be closed")

    failures: list[EnvironmentFailure] = []
    environment = guard(Makes(Clinging(step=raises), Clinging()), failures, deadline=SHORT)
    environment.step(STAY)
    assert_started(environment.step(STAY))
    assert "KeyError" in failures[0].what
    assert "close() failed, too: no answer within 0.5 s" in failures[0].cause
    assert "event.wait()" in failures[0].cause

    environment.close()
    assert failures[1].what == "one of 3 environments failed in close(): no answer within 0.5 s"
    event.set()

    environment = guard(Makes(Clinging()), failures)
    environment.close()
    assert failures[2].what == "one of 3 environments failed in close(): OSError: cannot be closed"


def test_guarded_atari_games_are_the_same_games() -> None:
    tasks = parse_level_name("pong")
    options = AtariOptions(max_frames_per_episode=80)

    def make(attempt: int) -> BatchedEnvironment:
        return make_batched_environment(tasks, [0, 0], atari=options, seed=5 + attempt)

    plain = make(0)
    guarded = guard(make, [])
    np.testing.assert_array_equal(guarded.tasks, plain.tasks)
    assert guarded.observation_spec() == plain.observation_spec()
    assert guarded.action_spec() == plain.action_spec()
    random = np.random.default_rng(0)
    pairs = [(plain.reset(), guarded.reset())]
    for _ in range(50):
        actions = random.integers(18, size=2)
        pairs.append((plain.step(actions), guarded.step(actions)))
    pairs.append((plain.reset(), guarded.reset()))
    for step, same in pairs:
        for array, equal in zip(
            (*step.observation, *step[1:]), (*same.observation, *same[1:]), strict=True
        ):
            np.testing.assert_array_equal(array, equal)
            assert array.dtype == equal.dtype
    assert sum(step.episode_end.sum() for step, _ in pairs) > 0
    plain.close()
    guarded.close()


def test_an_emulator_that_hangs_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    tasks = parse_level_name("pong")
    options = AtariOptions(noop_max=0)
    # Made here, since making them takes longer than the deadline should be.
    batches = [AtariBatch(tasks, [0, 0], options=options, seed=0) for _ in range(2)]
    emulator = batches[0]._games[0].emulator
    send = emulator.send
    failures: list[EnvironmentFailure] = []
    environment = guard(lambda attempt: batches.pop(0), failures, deadline=2.0, task_names=["pong"])
    (worker,) = (thread for thread in threading.enumerate() if thread.name == "environments")
    # One of the games knows no such action and never answers.
    with monkeypatch.context() as patch:
        patch.setattr(emulator, "send", lambda _: send(np.array([0, 99])))
        step = environment.step(np.zeros(2, np.int32))
    assert step.abandoned.all()
    (failure,) = failures
    assert failure.what == (
        "one of environments 0, 1 (task 0, pong) failed in step(): no answer within 2 s"
    )
    assert "self.ale.recv()" in failure.cause
    assert not environment.step(np.zeros(2, np.int32)).first.any()
    environment.close()

    emulator.send(np.zeros(2, np.int32))  # an answer for the waiting thread, so it can end
    worker.join(30)
    assert not worker.is_alive()
