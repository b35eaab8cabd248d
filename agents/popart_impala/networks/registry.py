"""The networks that `--network` chooses from."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from agents.popart_impala.networks.mlp import MLPTorso
from agents.popart_impala.networks.shallow import ShallowTorso

# A torso is called with features [B, ...] and task int32 [B], and returns [B, D].
Torso = Callable[[jax.Array, jax.Array], jax.Array]

TORSOS: dict[str, Callable[[], Torso]] = {
    "shallow": ShallowTorso,
    "mlp": MLPTorso,
}


def default_torso(features_spec: Any) -> str:
    """Name of the torso for these features: "shallow" for stacks of images, "mlp" for the rest.

    Args:
      features_spec: anything with a `shape` and a `dtype`.
    """
    is_image = len(features_spec.shape) == 3 and features_spec.dtype == np.uint8
    return "shallow" if is_image else "mlp"
