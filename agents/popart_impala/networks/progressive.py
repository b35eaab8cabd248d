"""Progressive networks: a column for each set of tasks, learned one after another.

Rusu et al. 2016, arXiv 1606.04671. Column k has its own layers, and adapters that bring in the
activations of all earlier columns, which are frozen:

    h_i^k = ReLU(W_i h_{i-1}^k + U_i ReLU(V_i [alpha_j h_{i-1}^j, j < k]))

V reduces the earlier columns' features to as many as one column has; alpha_j are learned scalars.
On images, W and U are the shallow network's convolutions and linear layer, and V is a 1x1
convolution; on boards they are those of the `minatar` network; elsewhere all are linear.
Differences from the paper: the output layer's adapter adds to the last hidden layer instead of to
logits and values, so that every column's heads and LSTM have the same sizes; there are no adapters
between LSTMs.

Every task belongs to one column. All columns are computed for every observation, and each sample
uses its task's column.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np

from agents.popart_impala.network_config import NetworkConfig
from agents.popart_impala.networks.convolution import BoardConv2D, ImageConv2D, StridedConv2D
from agents.popart_impala.networks.images import (
    are_boards,
    are_images,
    check_boards,
    check_images,
    one_of,
)
from agents.popart_impala.networks.lstm import LSTM_SIZE, ResetLSTM
from agents.popart_impala.networks.observations import (
    OBSERVATION_STATISTICS,
    Observations,
    observed,
)
from agents.popart_impala.networks.sequences import apply_to_steps
from agents.popart_impala.networks.single import actions_and_rewards
from agents.popart_impala.networks.types import VALUE_HEAD, NetworkOutput
from agents.popart_impala.types import AgentInput, Params, RecurrentState

# Activations, or what is added to them: by layer, then by column, float32 [B, ...].
Activations = list[list[jax.Array]]


class _Layer(NamedTuple):
    """How one layer of a column is made."""

    name: str
    # name -> module, without ReLU; a convolution that is the first layer takes `Observations`
    make: Callable[[str], Callable[[Any], jax.Array]]


class ProgressiveNetwork:
    """Columns, each with an optional LSTM and a policy head, and one value output per task."""

    def __init__(
        self, config: NetworkConfig, num_actions: int, num_tasks: int, *, freeze: bool = True
    ):
        """Makes the network; within a Haiku transformation.

        Args:
          config: the network's settings; `frozen_columns` assigns tasks to columns.
          num_actions: size of the policy's output.
          num_tasks: number of value outputs.
          freeze: no gradient reaches the frozen columns.

        Raises:
          ValueError: the frozen columns have all the tasks.
        """
        frozen = sum(config.frozen_columns)
        if frozen >= num_tasks:
            raise ValueError(
                f"frozen_columns={config.frozen_columns}: have {frozen} tasks; there must be more "
                f"than that in all, not {num_tasks}: the rest is for the column that learns"
            )
        tasks = [*config.frozen_columns, num_tasks - frozen]
        self._column_of_task = np.repeat(np.arange(len(tasks)), tasks)
        self._num_columns = len(tasks)
        self._num_frozen_tasks = frozen
        self._stop = jax.lax.stop_gradient if freeze else (lambda x: x)
        self._num_actions = num_actions
        self._num_tasks = num_tasks
        self._hidden_size = config.hidden_size
        self._cores = [
            ResetLSTM(LSTM_SIZE, name=f"lstm_{column}")
            for column in range(self._num_columns if config.use_lstm else 0)
        ]
        self._policy_heads = [
            hk.Linear(num_actions, name=f"policy_head_{column}")
            for column in range(self._num_columns)
        ]
        self._value_head = hk.Linear(num_tasks, name=VALUE_HEAD)

    def initial_state(self, batch_size: int) -> RecurrentState:
        """See `Network`. A task has one column, so one state is enough."""
        return self._cores[0].initial_state(batch_size) if self._cores else ()

    def step(
        self, inputs: AgentInput, state: RecurrentState
    ) -> tuple[NetworkOutput, RecurrentState]:
        """See `Network`."""
        x = self._embed(inputs)
        if self._cores:
            steps = [core.step(x, inputs.first, state) for core in self._cores]
            x = self._own([output for output, _ in steps], inputs.task)
            state = jax.tree.map(
                lambda *states: self._own(states, inputs.task), *[after for _, after in steps]
            )
        return self._heads(x, inputs.task), state

    def unroll(self, inputs: AgentInput, state: RecurrentState) -> NetworkOutput:
        """See `Network`."""
        x = apply_to_steps(self._embed, inputs)
        if self._cores:
            unrolls = [core.unroll(x, inputs.first, state)[0] for core in self._cores]
            x = self._own(unrolls, inputs.task)
        return apply_to_steps(self._heads, x, inputs.task)

    def probe(
        self, inputs: AgentInput, state: RecurrentState, nudges: Activations | None
    ) -> tuple[jax.Array, Activations]:
        """Logits [B, num_actions] and the activations, with `nudges` added to the latter."""
        embeddings, activations = self._columns(inputs.features, nudges)
        x = self._join(embeddings, inputs)
        if self._cores:
            outputs = [core.step(x, inputs.first, state)[0] for core in self._cores]
            x = self._own(outputs, inputs.task)
        return self._heads(x, inputs.task).logits, activations

    def _embed(self, inputs: AgentInput) -> jax.Array:
        embeddings, _ = self._columns(inputs.features, None)
        return self._join(embeddings, inputs)

    def _join(self, embeddings: list[jax.Array], inputs: AgentInput) -> jax.Array:
        own = self._own(embeddings, inputs.task)
        return jnp.concatenate([own, actions_and_rewards(inputs, self._num_actions)], axis=1)

    def _heads(self, x: jax.Array, task: jax.Array) -> NetworkOutput:
        logits = self._own([head(x) for head in self._policy_heads], task)
        values = self._value_head(x)
        frozen = jnp.broadcast_to(np.arange(self._num_tasks) < self._num_frozen_tasks, values.shape)
        return NetworkOutput(logits, jnp.where(frozen, self._stop(values), values))

    def _own(self, of_columns: Any, task: jax.Array) -> jax.Array:
        """Selects each sample's own column from one array [..., D] per column; task [...]."""
        *frozen, newest = of_columns
        stacked = jnp.stack([*map(self._stop, frozen), newest], axis=-2)
        column = jnp.asarray(self._column_of_task)[task]
        return jnp.take_along_axis(stacked, column[..., None, None], axis=-2).squeeze(-2)

    def _columns(
        self, features: Observations, nudges: Activations | None
    ) -> tuple[list[jax.Array], Activations]:
        """Embeddings [B, hidden_size] of all columns, and their activations.

        Args:
          features: [B, ...].
          nudges: added to each activation, if given.
        """
        spec = one_of(features)
        seen: Any = features
        if are_images(spec):
            check_images("progressive", features, at_least=36)
        elif are_boards(spec):
            check_boards("progressive", features, at_least=3)
        else:
            seen = features.numbers()
        layers = _layers(spec, self._hidden_size)
        activations: Activations = []
        for i, layer in enumerate(layers):
            activations.append([])
            for column in range(self._num_columns):
                own = seen if i == 0 else activations[i - 1][column]
                x = layer.make(f"column_{column}_{layer.name}")(own)
                if i > 0 and column > 0:
                    earlier = activations[i - 1][:column]
                    x += self._adapter(layer, column, earlier)
                x = jax.nn.relu(x)
                if column < self._num_columns - 1:
                    x = self._stop(x)
                if nudges is not None:
                    x += nudges[i][column]
                activations[i].append(x)
        embeddings = [activations[-1][0]]
        output = _Layer("output", lambda name: hk.Linear(self._hidden_size, False, name=name))
        for column in range(1, self._num_columns):
            adapted = self._adapter(output, column, activations[-1][:column])
            embeddings.append(activations[-1][column] + adapted)
        return embeddings, activations

    def _adapter(self, layer: _Layer, column: int, earlier: list[jax.Array]) -> jax.Array:
        """U ReLU(V [alpha_j h^j]) of a column's layer; `earlier` are the h^j [B, ..., C]."""
        name = f"column_{column}_{layer.name}_adapter"
        # As in the paper: learned scalars that start as small random values.
        alpha = hk.get_parameter(
            f"{name}_alpha", (len(earlier),), init=hk.initializers.RandomUniform(0.05, 0.2)
        )
        scaled = [h * jnp.broadcast_to(alpha[j], h.shape) for j, h in enumerate(earlier)]
        # A linear layer on the last axis is a 1x1 convolution where there are positions.
        reduced = hk.Linear(earlier[0].shape[-1], name=f"{name}_v")(
            jnp.concatenate(scaled, axis=-1)
        )
        return layer.make(f"{name}_u")(jax.nn.relu(reduced))


def layer_names(features_spec: Any) -> list[str]:
    """Names of the layers of a column, in order, for observations of this `shape` and `dtype`."""
    return [layer.name for layer in _layers(features_spec, hidden_size=1)]


def _layers(features_spec: Any, hidden_size: int) -> list[_Layer]:
    """The layers of a column for observations of this `shape` and `dtype`."""

    def linear(name: str) -> Callable[[jax.Array], jax.Array]:
        module = hk.Linear(hidden_size, name=name)
        return lambda x: module(hk.Flatten()(x))

    if are_images(features_spec):
        return [
            _Layer("conv_0", lambda name: ImageConv2D(16, 8, 4, name=name)),
            _Layer("conv_1", lambda name: StridedConv2D(32, 4, 2, name=name)),
            _Layer("linear", linear),
        ]
    if are_boards(features_spec):
        return [
            _Layer("conv", lambda name: BoardConv2D(16, 3, 1, name=name)),
            _Layer("linear", linear),
        ]
    return [_Layer("linear_0", linear), _Layer("linear_1", linear)]


def grow(old: Params, new: Params) -> Params:
    """Adds a column to a network's parameters and keeps the earlier columns' unchanged.

    Args:
      old: parameters of the old network.
      new: initial parameters of the network with the new column; its tasks start with the old ones.

    Returns:
      `new` with every parameter of the old network in its place, bit for bit: columns, LSTMs and
      policy heads by name, the value head's first outputs, and the first tasks' image statistics.

    Raises:
      ValueError: the old parameters do not fit such a network.
    """
    grown = dict(new)
    for module, values in old.items():
        if module in (VALUE_HEAD, OBSERVATION_STATISTICS):
            continue
        shapes = {name: np.shape(x) for name, x in values.items()}
        if module not in new or shapes != {name: np.shape(x) for name, x in new[module].items()}:
            raise ValueError(
                f"the earlier network's {module} {shapes} has no place in the new one: both must "
                "be progressive, with the same options, observations and actions"
            )
        grown[module] = values
    head = {}
    for name, x in new[VALUE_HEAD].items():
        earlier = np.asarray(old[VALUE_HEAD][name])
        head[name] = np.concatenate([earlier, np.asarray(x)[..., earlier.shape[-1] :]], axis=-1)
    if OBSERVATION_STATISTICS in new:
        grown[OBSERVATION_STATISTICS] = jax.tree.map(
            lambda kept, initial: np.concatenate([kept, initial[len(kept) :]]),
            old[OBSERVATION_STATISTICS],
            new[OBSERVATION_STATISTICS],
        )
    return {**grown, VALUE_HEAD: head}


def make_sensitivity(
    config: NetworkConfig, *, features_spec: Any, num_actions: int, num_tasks: int
) -> Callable[..., tuple[Activations, Activations]]:
    """Makes the function behind the Fisher sensitivity of arXiv 1606.04671, section 3.

    Args:
      config: the settings of a progressive network.
      features_spec: as `make_networks` takes it.
      num_actions: size of the policy's output.
      num_tasks: number of value outputs.

    Returns:
      (params, inputs [B, ...], state [B, ...], action int32 [B]) -> (activations, derivatives of
      log pi(action) with respect to them), both by layer and column, float32 [B, ...].
    """

    def probe(
        inputs: AgentInput, state: RecurrentState, nudges: Activations | None
    ) -> tuple[jax.Array, Activations]:
        network = ProgressiveNetwork(config, num_actions, num_tasks, freeze=False)
        return network.probe(observed(inputs, config, features_spec, num_tasks), state, nudges)

    apply = hk.without_apply_rng(hk.multi_transform(lambda: (probe, probe))).apply

    @jax.jit
    def sensitivity(
        params: Params, inputs: AgentInput, state: RecurrentState, action: jax.Array
    ) -> tuple[Activations, Activations]:
        _, activations = apply(params, inputs, state, None)

        def log_pi(nudges: Activations) -> jax.Array:
            logits, _ = apply(params, inputs, state, nudges)
            log_probabilities = jax.nn.log_softmax(logits)
            # Summed over samples, each of which has its own nudges.
            return jnp.sum(jnp.take_along_axis(log_probabilities, action[:, None], axis=1))

        return activations, jax.grad(log_pi)(jax.tree.map(jnp.zeros_like, activations))

    return sensitivity
