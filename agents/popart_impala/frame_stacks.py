"""Single frames -> the stacks that the environment showed (a pure function, on the device)."""

import jax
import jax.numpy as jnp


def rebuild_stacks(frames: jax.Array, first: jax.Array) -> jax.Array:
    """Rebuilds the frame stacks of one unroll from frames that were each sent once.

    The stack at time t holds the frames of times t-S+1 ... t, newest last, with zeros for frames
    from before o_t's episode. The first S-1 frames sent are the rest of o_0's stack, which already
    has these zeros from the environment.

    Args:
      frames: [S-1+T+1, ...], the rest of o_0's stack, then the newest frame of every o_t.
      first: bool [T+1], o_t starts an episode.

    Returns:
      Stacks [T+1, S, ...] with the dtype of `frames`.
    """
    num_steps = first.shape[0]
    context = frames.shape[0] - num_steps
    # The number of episode starts up to each frame; the context belongs with o_0.
    episode = jnp.cumsum(first.at[0].set(False))
    episode = jnp.concatenate([jnp.zeros(context, episode.dtype), episode])
    stack = []
    for k in range(context + 1):
        same_episode = episode[k : k + num_steps] == episode[context:]
        mask = same_episode.reshape(num_steps, *([1] * (frames.ndim - 1)))
        stack.append(jnp.where(mask, frames[k : k + num_steps], jnp.zeros((), frames.dtype)))
    return jnp.stack(stack, axis=1)
