"""This project's agents. Importing this package makes Acme 0.4.0 importable with today's JAX."""

import importlib.util

if importlib.util.find_spec("acme"):
    from agents import acme_compat

    acme_compat.restore_removed_jax_names()
    acme_compat.silence_gym()
