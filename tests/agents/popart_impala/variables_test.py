"""The client of the learner's parameters."""

import threading
from collections.abc import Sequence

import numpy as np
import pytest
from acme import core

from agents.popart_impala.types import PolicyVariables
from agents.popart_impala.variables import POLICY, VariableClient


class Source(core.VariableSource):
    """Publishes step 0, 1, 2, ...; answers only while `may_answer` is set."""

    def __init__(self) -> None:
        self.requests = 0
        self.failure: Exception | None = None
        self.may_answer = threading.Event()
        self.may_answer.set()
        self.answered = threading.Semaphore(0)

    def get_variables(self, names: Sequence[str]) -> list[PolicyVariables]:
        assert names == [POLICY]
        step = self.requests
        self.requests += 1
        try:
            assert self.may_answer.wait(timeout=60)
            if self.failure is not None:
                raise self.failure
            return [PolicyVariables(step, {"layer": {"w": np.float32(step)}})]
        finally:
            self.answered.release()


def update_until(client: VariableClient, step: int) -> None:
    # The source has answered, but we cannot tell when its thread marks the answer as done.
    while client.step < step:
        client.update()


def test_asks_nothing_before_it_has_to() -> None:
    source = Source()
    client = VariableClient(source)
    assert source.requests == 0
    assert client.params == {"layer": {"w": 0.0}}
    assert client.step == 0
    assert source.requests == 1


def test_update_that_waits_takes_the_newest() -> None:
    source = Source()
    client = VariableClient(source)
    for step in range(3):
        client.update(wait=True)
        assert client.step == step
        assert client.params["layer"]["w"] == step


def test_update_does_not_wait_and_asks_once_at_a_time() -> None:
    source = Source()
    client = VariableClient(source)
    client.update()  # the first one waits: there is nothing to act with
    assert client.step == 0
    source.may_answer.clear()
    for _ in range(3):
        client.update()
    assert client.step == 0
    assert client.params["layer"]["w"] == 0.0
    source.may_answer.set()
    update_until(client, 1)
    # Step and parameters belong to the same version.
    assert client.params["layer"]["w"] == client.step == 1


def test_waiting_update_drops_an_older_answer_on_its_way() -> None:
    source = Source()
    client = VariableClient(source)
    client.update()
    source.may_answer.clear()
    client.update()  # request 1, in the background
    while source.requests < 2:
        pass
    source.may_answer.set()
    client.update(wait=True)  # request 2
    assert client.step == 2
    update_until(client, 3)
    assert client.step == 3


def test_a_source_that_fails_at_once_is_noticed() -> None:
    source = Source()
    source.failure = ConnectionError("the learner is gone")
    client = VariableClient(source)
    with pytest.raises(ConnectionError, match="the learner is gone"):
        client.update()
    with pytest.raises(ConnectionError):
        client.update(wait=True)
    with pytest.raises(ConnectionError):
        client.params  # noqa: B018


def test_a_source_that_fails_in_the_background_is_noticed() -> None:
    source = Source()
    client = VariableClient(source)
    client.update()
    source.failure = ConnectionError("the learner is gone")
    with pytest.raises(ConnectionError, match="the learner is gone"):
        while True:
            client.update()
    with pytest.raises(ConnectionError):  # the failure is not forgotten
        client.update()
    assert client.step == 0
