"""Single frames -> the stacks that the environment showed (pure mathematics, on the device)."""

import dataclasses

import jax
import jax.numpy as jnp

from agents.popart_impala.types import Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class FrameSequences:
    """The frame stacks of B unrolls with each frame held once; stands for [B (T+1), S, ...]."""

    frames: Array  # [B, S-1+T+1, ...], as `rebuild_stacks` takes them
    # bool [B, T+1, S]: whether place k of stack t shows frame t+k; zeros where it does not.
    shown: Array

    @property
    def shape(self) -> tuple[int, ...]:
        """That of the stacks, [B (T+1), S, ...]: all steps of an unroll, then the next unroll."""
        batch_size, num_steps, size = self.shown.shape
        return (batch_size * num_steps, size, *self.frames.shape[2:])

    @property
    def dtype(self) -> jnp.dtype:
        """That of the frames."""
        return self.frames.dtype

    def stacks(self) -> jax.Array:
        """The stacks [B (T+1), S, ...]."""
        return jax.vmap(_stacks)(self.frames, self.shown).reshape(self.shape)


def shown_frames(first: jax.Array, size: int) -> jax.Array:
    """Which frames the stacks of one unroll show.

    The stack at time t holds the frames of times t-S+1 ... t, newest last, with zeros for those
    from before the episode that o_t belongs to. The first S-1 frames sent are the rest of o_0's
    stack, where the environment has put those zeros already.

    Args:
      first: bool [T+1], o_t starts an episode.
      size: S.

    Returns:
      bool [T+1, S], as in `FrameSequences`.
    """
    num_steps = first.shape[0]
    # The number of episode starts up to each frame; the context belongs with o_0.
    episode = jnp.cumsum(first.at[0].set(False))
    episode = jnp.concatenate([jnp.zeros(size - 1, episode.dtype), episode])
    own = episode[size - 1 :]
    return jnp.stack([episode[k : k + num_steps] == own for k in range(size)], axis=1)


def rebuild_stacks(frames: jax.Array, first: jax.Array) -> jax.Array:
    """Rebuilds the frame stacks of one unroll from the frames that were sent once.

    Args:
      frames: [S-1+T+1, ...], the rest of o_0's stack, then the newest frame of every o_t.
      first: bool [T+1], o_t starts an episode.

    Returns:
      Stacks [T+1, S, ...] with the dtype of `frames`; see `shown_frames`.
    """
    return _stacks(frames, shown_frames(first, frames.shape[0] - first.shape[0] + 1))


def _stacks(frames: jax.Array, shown: jax.Array) -> jax.Array:
    """Of one unroll, from frames [S-1+T+1, ...] and shown [T+1, S]."""
    num_steps, size = shown.shape
    shown = shown.reshape(num_steps, size, *([1] * (frames.ndim - 1)))
    stack = jnp.stack([frames[k : k + num_steps] for k in range(size)], axis=1)
    return jnp.where(shown, stack, jnp.zeros((), frames.dtype))
