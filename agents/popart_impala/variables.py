"""Learner -> actors: parameters, fetched in the background."""

from concurrent import futures
from typing import Protocol

from agents.popart_impala.types import Params, PolicyVariables

# The one name that the learner publishes: a `PolicyVariables`.
POLICY = "policy"


class VariableSource(Protocol):
    """A source of parameters: a learner, or a Courier client of one; Acme's interface."""

    def get_variables(self, names: list[str]) -> list[PolicyVariables]:
        """Returns the variables of these names, in order."""


class VariableClient:
    """Keeps a recent copy of the learner's parameters."""

    def __init__(self, source: VariableSource):
        """Fetches nothing yet.

        Args:
          source: a learner, or a Courier client of one (made with a call timeout).
        """
        self._source = source
        self._variables: PolicyVariables | None = None
        self._request: futures.Future[list[PolicyVariables]] | None = None
        self._executor = futures.ThreadPoolExecutor(1, thread_name_prefix="variables")

    def update(self, wait: bool = False) -> None:
        """Takes newer parameters if they have arrived, and requests the next ones.

        Args:
          wait: request now and wait for the answer. The first call always waits.

        Raises:
          Whatever the source raised: a learner that is gone must not go unnoticed.
        """
        if wait or self._variables is None:
            self._variables = PolicyVariables(*self._source.get_variables([POLICY])[0])
            self._request = None
        elif self._request is None:
            self._request = self._executor.submit(self._source.get_variables, [POLICY])
        elif self._request.done():
            self._variables = PolicyVariables(*self._request.result()[0])
            self._request = self._executor.submit(self._source.get_variables, [POLICY])

    @property
    def current(self) -> PolicyVariables:
        """The newest variables received; waits for the first ones."""
        if self._variables is None:
            self.update(wait=True)
        assert self._variables is not None
        return self._variables

    @property
    def params(self) -> Params:
        """The parameters of `current`."""
        return self.current.params

    @property
    def step(self) -> int:
        """Learner step that made `params`."""
        return self.current.step
