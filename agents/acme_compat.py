"""Makes Acme 0.4.0 importable with a JAX that has dropped names used in Acme's annotations.

`acme.agents.jax.builders`, whose base class we implement, and `acme.jax` refer to `jax.xla`,
`jax.pxla`, `jax.tree_map` and `jax.numpy.DeviceArray`. We call none of the code behind them. The
aliases are set only where JAX lacks the name, and this project does not use them itself.
"""

import types

import jax
import jax.numpy as jnp


def restore_removed_jax_names() -> None:
    """Sets the four missing aliases on `jax`. Calling it again changes nothing."""
    xla = types.SimpleNamespace(Device=jax.Device, DeviceArray=jax.Array)
    pxla = types.SimpleNamespace(ShardedDeviceArray=jax.Array)
    for module, name, alias in (
        (jax, "xla", xla),
        (jax, "pxla", pxla),
        (jax, "tree_map", jax.tree.map),
        (jnp, "DeviceArray", jax.Array),
    ):
        if not hasattr(module, name):
            setattr(module, name, alias)


def silence_gym() -> None:
    """Keeps gym, which `acme.wrappers` imports, from printing that it is unmaintained."""
    from gym_notices.notices import notices

    notices.clear()
