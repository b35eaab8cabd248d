"""Lets Acme 0.4.0 be imported with a JAX that has dropped names which Acme uses in annotations.

`acme.agents.jax.builders`, whose base class we implement, and `acme.jax` mention `jax.xla`,
`jax.pxla`, `jax.tree_map` and `jax.numpy.DeviceArray`. We call none of the code behind them. The
aliases are set only where JAX lacks the name, and are not used by this project itself.
"""

import types

import gym_notices.notices
import jax
import jax.numpy as jnp


def restore_removed_jax_names() -> None:
    """Sets the four missing aliases on `jax`. Calling it again changes nothing."""
    if not hasattr(jax, "xla"):
        jax.xla = types.ModuleType("jax.xla")
        jax.xla.Device = jax.Device
        jax.xla.DeviceArray = jax.Array
    if not hasattr(jax, "pxla"):
        jax.pxla = types.ModuleType("jax.pxla")
        jax.pxla.ShardedDeviceArray = jax.Array
    if not hasattr(jax, "tree_map"):
        jax.tree_map = jax.tree.map
    if not hasattr(jnp, "DeviceArray"):
        jnp.DeviceArray = jax.Array


def silence_gym() -> None:
    """Keeps gym, which `acme.wrappers` imports, from printing its notice that it is unmaintained."""
    gym_notices.notices.notices.clear()
