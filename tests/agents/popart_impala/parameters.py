"""Parameters of networks, drawn by NumPy."""

import jax
import numpy as np

from agents.popart_impala.networks import Networks
from agents.popart_impala.networks.observations import OBSERVATION_STATISTICS
from agents.popart_impala.types import Params

# Statistics of byte observations range from half of these values to these.
_LARGEST = {"count": 9.0, "mean": 200.0, "variance": 5000.0}


def random_params(networks: Networks, seed: int = 2) -> Params:
    """Draws parameters without the networks' `init`, which XLA takes seconds to compile."""
    random = np.random.default_rng(seed)
    params = jax.tree.map(
        lambda x: random.normal(0, np.prod(x.shape[:-1], initial=1.0) ** -0.5, x.shape).astype(
            x.dtype
        ),
        jax.eval_shape(networks.init, jax.random.PRNGKey(0)),
    )
    if OBSERVATION_STATISTICS in params:
        params[OBSERVATION_STATISTICS] = {
            name: (_LARGEST[name] * random.uniform(0.5, 1.0, x.shape)).astype(x.dtype)
            for name, x in params[OBSERVATION_STATISTICS].items()
        }
    return params
