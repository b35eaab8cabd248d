"""Settings of every test."""

import jax

# An array never gains an axis unnoticed.
jax.config.update("jax_numpy_rank_promotion", "raise")
