"""Batch -> gradients -> next state: one learner update, as pure functions."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from agents.popart_impala import losses, popart
from agents.popart_impala.config import Config
from agents.popart_impala.frame_stacks import rebuild_stacks
from agents.popart_impala.networks import VALUE_HEAD, Networks
from agents.popart_impala.networks.observations import with_observed
from agents.popart_impala.training_state import TrainingState, learning_rate, make_optimiser
from agents.popart_impala.types import Params, Unroll

__all__ = [
    "TrainingState",
    "all_finite",
    "learning_rate",
    "make_optimiser",
    "make_update",
    "mean_attention",
    "time_major",
]


def time_major(unrolls: Unroll, stacked: bool) -> Unroll:
    """Converts a batch from the queue, [B, T, ...], to the loss's layout, [T, B, ...].

    Args:
      unrolls: [B, ...] arrays.
      stacked: features were sent as single frames and are restored to stacks [T+1, B, S, ...].

    Returns:
      Time-major unrolls; `inputs.task` is repeated to [T+1, B]; `initial_state` and `params_step`
      stay [B, ...].
    """
    inputs = unrolls.inputs
    features = inputs.features
    if stacked:
        features = jax.vmap(rebuild_stacks)(features, inputs.first)
    task = jnp.broadcast_to(inputs.task[:, None], inputs.first.shape)
    sequences = unrolls._replace(
        inputs=inputs._replace(features=features, task=task), initial_state=(), params_step=()
    )
    sequences = jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1), sequences)
    return sequences._replace(initial_state=unrolls.initial_state, params_step=unrolls.params_step)


def mean_attention(attention: jax.Array, task: jax.Array, num_tasks: int) -> jax.Array:
    """Returns each sub-network's mean attention weight over each task's steps.

    Args:
      attention: float32 [T, B, K].
      task: int32 [T, B].
      num_tasks: number of tasks.

    Returns:
      float32 [num_tasks, K]; NaN for a task absent from the batch.
    """
    member = jax.nn.one_hot(task.reshape(-1), num_tasks)  # [T B, num_tasks]
    steps = jnp.sum(member, axis=0)
    sums = member.T @ attention.reshape(-1, attention.shape[-1])
    return sums / jnp.broadcast_to(steps[:, None], sums.shape)


def all_finite(tree: Any) -> jax.Array:
    """Whether no array of `tree` holds a NaN or an infinity; a bool scalar."""
    return jnp.all(jnp.stack([jnp.all(jnp.isfinite(x)) for x in jax.tree.leaves(tree)]))


def make_update(networks: Networks, config: Config, stacked: bool) -> Any:
    """Makes the update as one compiled function.

    An update that is not finite is skipped: the state is returned unchanged, bit for bit, and the
    metric `skipped` is true.

    Args:
      networks: the network.
      config: the agent's settings.
      stacked: whether unrolls hold frame stacks as single frames.

    Returns:
      (params, opt_state, popart_state, unrolls [B, ...], learning_rate) ->
      (params, opt_state, popart_state, metrics).
    """
    optimiser = make_optimiser(config)

    def loss_fn(
        params: Params, popart_state: popart.PopArtState, batch: Unroll
    ) -> tuple[jax.Array, Any]:
        output = networks.unroll(params, batch.inputs, batch.initial_state)
        given = losses.LossInput(
            logits=output.logits,
            normalised_values=output.normalised_values,
            behaviour_logits=batch.behaviour_logits,
            action=batch.action,
            reward=batch.reward,
            discount=batch.discount,
            truncation_value=batch.truncation_value,
            first=batch.inputs.first,
            task=batch.inputs.task[0],
        )
        given = losses.bound_truncation_values(given, popart_state, config)
        loss, (new_popart_state, metrics) = losses.popart_vtrace_loss(given, popart_state, config)
        if output.attention is not None:
            means = mean_attention(output.attention, batch.inputs.task, networks.num_tasks)
            metrics |= {f"attention_{k}": means[:, k] for k in range(means.shape[1])}
        return loss, (new_popart_state, metrics)

    def update(
        params: Params,
        opt_state: optax.OptState,
        popart_state: popart.PopArtState,
        unrolls: Unroll,
        rate: jax.Array,
    ) -> tuple[Params, optax.OptState, popart.PopArtState, dict[str, jax.Array]]:
        before = params
        params = with_observed(params, unrolls, stacked)
        batch = time_major(unrolls, stacked)
        (loss, (new_popart_state, metrics)), gradients = jax.value_and_grad(loss_fn, has_aux=True)(
            params, popart_state, batch
        )
        # PopArt: the value head's outputs are preserved, and the step is taken from there.
        old = popart.configured_scale(popart_state, config)
        new = popart.configured_scale(new_popart_state, config)
        head = popart.preserve_outputs(popart.Head(**params[VALUE_HEAD]), old, new)
        head_gradient = popart.preserved_head_gradient(
            popart.Head(**gradients[VALUE_HEAD]), old, new
        )
        preserved = {**params, VALUE_HEAD: head._asdict()}
        gradients = {**gradients, VALUE_HEAD: head_gradient._asdict()}

        updates, new_opt_state = optimiser.update(gradients, opt_state)
        new_params = jax.tree.map(lambda p, u: p - rate * u, preserved, updates)
        gradient_norm = optax.tree.norm(gradients)
        # Finite loss and gradient are not enough: a variance may overflow while sigma is clipped.
        finite = all_finite((loss, gradient_norm, optax.tree.norm(updates), head, new_popart_state))
        kept = jax.tree.map(
            lambda new, old: jnp.where(finite, new, old),
            (new_params, new_opt_state, new_popart_state),
            (before, opt_state, popart_state),
        )
        metrics |= {"gradient_norm": gradient_norm, "skipped": ~finite}
        return *kept, metrics

    # Parameters and statistics are not donated: actors may be reading them.
    return jax.jit(update, donate_argnums=(1,))
